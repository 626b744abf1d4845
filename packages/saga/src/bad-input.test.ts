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

test('a refused close closes nothing, and a second one does', async () => {
  const order = saga<null>('order').returns(() => 'done')
  const engine = await engineOn(memoryStore(), order)

  await expect(engine.close({ timeout: -1 })).rejects.toThrow(/^close: timeout must be milliseconds/)
  expect(await (await engine.start(order, null)).result()).toBe('done')
  await engine.close()
  await expect(engine.start(order, null)).rejects.toThrow('the saga engine is closed')
})

test('a cancel without a reason rejects, as all that answers with a promise', async () => {
  const engine = await engineOn(memoryStore())

  await expect(engine.cancel('id', { reason: '' })).rejects.toThrow(/^cancel: reason must be/)
})

test.each(['k\ud800', '\udc00k', 'k\0'])('text that no database keeps is refused: %j', async (text) => {
  const order = saga<null>('order').returns(() => null)
  const engine = await engineOn(memoryStore(), order)

  await expect(engine.start(order, null, { key: text })).rejects.toThrow(/^start: key must not contain/)
  await expect(engine.start(order, null, { lock: text })).rejects.toThrow(/^start: lock must not contain/)
  await expect(engine.start(order, null, { tags: { a: text } })).rejects.toThrow(/^start: tags.a must not contain/)
  await expect(engine.start(order, null, { tags: { [text]: 'a' } })).rejects.toThrow(/^start: tags: a name must not/)
  await expect(engine.list({ tags: { a: text } })).rejects.toThrow(/^list: tags.a must not contain/)
  await expect(engine.send(eventType('paid'), text, null)).rejects.toThrow(/^send: key must not contain/)
  expect(() => saga(text)).toThrow(/^the name of a saga must not contain/)
  expect((await engine.list()).items).toEqual([])
})

test('a whole pair of surrogates is a character like others', async () => {
  const order = saga<string>('order').returns(({ input }) => input)
  const engine = await engineOn(memoryStore(), order)
  const started = await engine.start(order, '😀', { key: '😀', tags: { '😀': '😀' } })

  expect(await started.result()).toBe('😀')
})

test('numbers that do not fit into a column, and dates that are none, are refused by name', async () => {
  const engine = await engineOn(memoryStore())
  const finishedBefore = new Date()

  expect(() => saga('order', { version: 202_611_300_240 })).toThrow(
    /version must be a whole number from 1 to 2147483647/,
  )
  await expect(engine.prune({ finishedBefore, limit: 2 ** 31 })).rejects.toThrow(/^prune: limit must be/)
  await expect(engine.prune({ finishedBefore: new Date(Number.NaN), limit: 1 })).rejects.toThrow(/not Invalid Date/)
  await expect(engine.list({ startedAfter: new Date(Number.NaN) })).rejects.toThrow(/^list: startedAfter must be a/)
  await expect(engine.list({ startedBefore: '2026-01-01' as never })).rejects.toThrow(/^list: startedBefore must be a/)
})

test('branches may have names that every object has', async () => {
  const attempts: [string, number][] = []
  const failing = (name: string) => async (c: { attempt: number }) => {
    attempts.push([name, c.attempt])
    if (c.attempt < 2) throw new Error('busy')
  }
  const retry = { backoff: () => 0 }
  const order = saga<null>('order')
    .parallel((b) => ({
      first: b.step(failing('first'), { retry }),
      constructor: b.step(failing('constructor'), { retry }),
      toString: b.step(failing('toString'), { retry }),
    }))
    .returns(() => 'done')
  const engine = await engineOn(memoryStore(), order)

  expect(await (await engine.start(order, null)).result()).toBe('done')
  expect(attempts).toHaveLength(6)
  expect(attempts.filter(([name]) => name === 'constructor').map(([, attempt]) => attempt)).toEqual([1, 2])
})

test('a result that cannot even be looked at fails its step, which is not run without end', async () => {
  const run = vi.fn(() => {
    const trap = {}
    return Object.defineProperty(trap, 'then', {
      get: () => {
        throw new Error('do not look')
      },
    })
  })
  const order = saga<null>('order')
    .step('a', run, { retry: { attempts: 2, backoff: () => 0 } })
    .returns(() => null)
  const engine = await engineOn(memoryStore(), order)
  const { id } = await engine.start(order, null)

  expect(await engine.settled(id)).toMatchObject({ status: 'compensated', error: { message: 'do not look' } })
  expect(run).toHaveBeenCalledTimes(2)
})

test('of a message as long as a book the beginning is kept', async () => {
  const order = saga<null>('order')
    .step('a', () => Promise.reject(new Error('m'.repeat(1_000_000))), { retry: { attempts: 1 } })
    .returns(() => null)
  const engine = await engineOn(memoryStore(), order)
  const { id } = await engine.start(order, null)

  expect((await engine.settled(id)).error?.message).toHaveLength(10_001)
})
