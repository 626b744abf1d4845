import { afterEach, describe, expect, test, vi } from 'vitest'
import { createSagaEngine, type Definition, eventType, memoryStore, type SagaEngine, saga } from './index.js'

/* What users hand in by mistake: each is refused with words that say what it was, and no saga is lost by it. */
const engines: SagaEngine[] = []
afterEach(async () => {
  for (const engine of engines.splice(0)) await engine.close({ timeout: 0 })
})

async function engineOn(store: ReturnType<typeof memoryStore>, ...sagas: unknown[]): Promise<SagaEngine> {
  const engine = createSagaEngine({ store, sagas: sagas as Definition<never, unknown, unknown>[] })
  engines.push(engine)
  await engine.run()
  return engine
}

const cyclic: Record<string, unknown> = {}
cyclic['self'] = cyclic
const NOT_JSON: [string, unknown][] = [
  ['a bigint', 1n],
  ['a cycle', cyclic],
  [
    'a toJSON that throws',
    {
      toJSON() {
        throw new Error('gotcha')
      },
    },
  ],
]

describe.each(NOT_JSON)('%s', (_, value) => {
  test('as the result of a step leaves it in doubt, and undone', async () => {
    const undone = vi.fn()
    const order = saga<null>('order')
      .step('a', () => value as string, { compensate: ({ outcome }) => undone(outcome.known) })
      .returns(() => null)
    const engine = await engineOn(memoryStore(), order)
    const { id } = await engine.start(order, null)

    expect(await engine.settled(id)).toMatchObject({
      status: 'compensated',
      error: { message: "the result of step 'a' has no JSON form" },
    })
    expect(undone.mock.calls).toEqual([[false]])
  })

  test('as a result after the pivot is stuck, and goes on with what an operator says', async () => {
    const order = saga<null>('order')
      .pivot('pay', () => 'paid')
      .step('ship', () => value as string)
      .returns(({ results }) => results.ship)
    const engine = await engineOn(memoryStore(), order)
    const { id } = await engine.start(order, null)
    const { status, step, rev } = await engine.settled(id)
    expect([status, step]).toEqual(['stuck', 'ship'])

    const decision = { step: 'ship', rev, by: 'ann', reason: 'r', do: 'complete' } as const
    await expect(engine.resume(id, { ...decision, result: value })).rejects.toThrow('resume: result has no JSON form')
    await engine.resume(id, { ...decision, result: 'van' })
    expect(await engine.settled(id)).toMatchObject({ status: 'completed', output: 'van' })
  })

  test('as input, as an event and as the end of a saga is refused by name', async () => {
    const paid = eventType<unknown>('paid')
    const order = saga<unknown>('order').returns(() => value)
    const engine = await engineOn(memoryStore(), order)

    await expect(engine.start(order, value)).rejects.toThrow(/^start: input has no JSON form: /)
    await expect(engine.send(paid, 'k', value)).rejects.toThrow(/^send: payload has no JSON form: /)
    const { id } = await engine.start(order, null)
    expect((await engine.settled(id)).error?.message).toMatch(/^the result of the saga has no JSON form: /)
    expect((await engine.list()).items).toHaveLength(1)
  })
})

test('a saga of an unknown version is left for an engine that has it', async () => {
  const store = memoryStore()
  const [first, second] = [1, 2].map((version) =>
    saga<null>('order', { version })
      .step(`of ${version}`, () => version)
      .returns(() => version),
  ) as [Definition<null, unknown, number>, Definition<null, unknown, number>]
  const starter = createSagaEngine({ store, sagas: [first] })
  engines.push(starter)
  const { id } = await starter.start(first, null)
  const newer = await engineOn(store, second)

  expect(await (await newer.start(second, null)).result()).toBe(2)
  expect(await newer.get(id)).toMatchObject({ status: 'running', version: 1 })

  await engineOn(store, first)
  expect(await newer.settled(id, { timeout: 3_000 })).toMatchObject({ status: 'completed', output: 1 })
})

test('a saga whose shape was changed without a new version runs nothing, and goes on when the old one is back', async () => {
  const store = memoryStore()
  const ran: string[] = []
  const before = saga<null>('order')
    .step('a', () => void ran.push('a'))
    .returns(() => 'done')
  const after = saga<null>('order')
    .step('b', () => void ran.push('b'))
    .returns(() => 'done')
  const starter = createSagaEngine({ store, sagas: [before] })
  engines.push(starter)
  const { id } = await starter.start(before, null)
  const wrong = await engineOn(store, after)

  const stuck = await wrong.settled(id)
  expect(stuck).toMatchObject({ status: 'stuck', error: { message: expect.stringContaining('raise the version') } })
  expect(ran).toEqual([])
  await wrong.close()

  await starter.run()
  await starter.resume(id, { do: 'retry', step: 'a', rev: stuck.rev, by: 'ann', reason: 'rolled back' })
  expect(await starter.settled(id)).toMatchObject({ status: 'completed' })
  expect(ran).toEqual(['a'])
})

test.each([Number.NaN, Infinity, -1, '5', 1e300])('a duration of %s is refused', async (bad) => {
  const ms = bad as number
  const order = saga<null>('order').returns(() => null)
  const engine = await engineOn(memoryStore(), order)

  await expect(engine.start(order, null, { delay: ms })).rejects.toThrow(/delay must be .*, not /)
  await expect(engine.start(order, null, { deadline: ms })).rejects.toThrow(/deadline must be .*, not /)
  expect(() => saga<null>('order').sleep('s', ms)).toThrow(/must be .*, not /)
  expect(() => saga<null>('order').step('s', () => 1, { timeout: ms })).toThrow(/timeout must be .*, not /)
  expect((await engine.list()).items).toEqual([])
})

test('a store that is down says so to those who start, and loses nothing of what runs', {
  timeout: 20_000,
}, async () => {
  const store = memoryStore()
  let down = false
  const unreliable = new Proxy(store, {
    get(target, name) {
      const verb = Reflect.get(target, name)
      if (typeof verb !== 'function') return verb
      // What a store in this process may accept at once is left out: it cannot be down.
      return (...args: unknown[]) =>
        down ? Promise.reject(new Error('the database is away')) : Reflect.apply(verb, target, args)
    },
  })
  let finish: (value: string) => void = () => undefined
  const finished = new Promise<string>((resolve) => {
    finish = resolve
  })
  const order = saga<null>('order')
    .step('a', () => finished)
    .returns(({ results }) => results.a)
  const engine = await engineOn(unreliable, order)
  const told = vi.fn()
  engine.on('storeError', told)
  const running = await engine.start(order, null)

  down = true
  await expect(engine.start(order, null)).rejects.toThrow('the database is away')
  finish('the only time')
  await vi.waitFor(() => expect(told).toHaveBeenCalledWith(expect.objectContaining({ during: 'commit' })))
  down = false

  expect(await running.result()).toBe('the only time')
})
