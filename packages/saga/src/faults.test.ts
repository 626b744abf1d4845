import { afterEach, expect, test, vi } from 'vitest'
import {
  createSagaEngine,
  type Definition,
  eventType,
  memoryStore,
  type Queryable,
  type SagaEngine,
  type Store,
  saga,
} from './index.js'
import type { Transition } from './store.js'
import { virtualClock } from './testing/clock.js'

/*
 * Answers of the store that are lost on their way, and callbacks that misbehave: in each case the saga must go on, and no
 * step may be recorded that did not run.
 */
type Verb = 'create' | 'claim' | 'commit' | 'commitWith' | 'load'

const engines: SagaEngine[] = []
afterEach(async () => {
  for (const engine of engines.splice(0)) await engine.close({ timeout: 0 })
})

/** A store in which the first answer of `verb` that tells something is lost, after the work and after `meanwhile`. */
function lossy(verb: Verb, meanwhile: () => Promise<unknown> = async () => undefined): Store<Queryable> {
  const nothing: Queryable = { query: async () => ({ rows: [] }) }
  const store = memoryStore({ transaction: (run) => run(nothing) })
  const real = store[verb].bind(store) as (...args: unknown[]) => Promise<unknown>
  let lost = false

  return Object.assign(store, {
    [verb]: async (...args: unknown[]) => {
      const answer = await real(...args)
      if (lost || (Array.isArray(answer) && answer.length === 0)) return answer
      lost = true
      await meanwhile()
      throw new Error('connection lost')
    },
  })
}

async function engineOn(store: Store<Queryable>, definition: unknown): Promise<SagaEngine> {
  const engine = createSagaEngine({ store, sagas: [definition as Definition<never, unknown, unknown>] })
  engines.push(engine)
  await engine.run()
  return engine
}

test('runs a saga whose start was never answered, and the second start finds it', async () => {
  const order = saga<null>('order')
    .step('a', () => 'a')
    .returns(({ results }) => results.a)
  const engine = await engineOn(lossy('create'), order)

  await expect(engine.start(order, null, { key: 'k' })).rejects.toThrow('connection lost')
  const again = await engine.start(order, null, { key: 'k' })

  expect(again.created).toBe(false)
  expect(await again.result()).toBe('a')
})

test('runs a saga whose claim was never answered, and those that run meanwhile once', async () => {
  const ran: string[] = []
  const order = saga<string>('order')
    .step('a', async ({ input }) => {
      ran.push(input)
      await new Promise((resolve) => setTimeout(resolve, input === 'long' ? 1_500 : 0))
    })
    .returns(({ input }) => input)
  const store = lossy('claim')
  const engine = await engineOn(store, order)

  const long = await engine.start(order, 'long')
  const claimed = await engine.start(order, 'claimed', { delay: 20 })

  expect(await claimed.result()).toBe('claimed')
  expect(await long.result()).toBe('long')
  expect(ran.sort()).toEqual(['claimed', 'long'])
})

test.each(['step', 'txStep'] as const)('does not take the answer of a %s for that of the next', async (kind) => {
  const ran: string[] = []
  const undone: string[] = []
  const began = saga<null>('order')
  const first =
    kind === 'step'
      ? began.step('a', () => 'of a', { compensate: () => void undone.push('a') })
      : began.txStep('a', () => 'of a', { compensate: () => void undone.push('a') })
  const order = first
    .step('b', () => void ran.push('b'), { compensate: () => void undone.push('b') })
    .returns(({ results }) => results.a)
  const store = lossy(kind === 'step' ? 'commit' : 'commitWith', () => engine.cancel(id, { reason: 'r' }))
  const engine = await engineOn(store, order)

  const { id } = await engine.start(order, null, { delay: 5 })

  expect(await engine.settled(id)).toMatchObject({ status: 'cancelled' })
  const settled = (await engine.history(id)).map(({ kind, name, outcome }) => [kind, name, outcome])
  if (ran.length === 0)
    expect(settled.some(([kind, name, outcome]) => `${kind} ${name} ${outcome}` === 'do b ok')).toBe(false)
  expect(settled.filter(([kind, name]) => kind === 'do' && name === 'a')).toEqual([['do', 'a', 'ok']])
  expect(undone).toEqual(ran.length === 0 ? ['a'] : ['b', 'a'])
})

test('waits on while the store is away', async () => {
  const order = saga<null>('order')
    .step('a', () => new Promise((resolve) => setTimeout(() => resolve('a'), 30)))
    .returns(({ results }) => results.a)
  const engine = await engineOn(lossy('load'), order)
  const errors = vi.fn()
  engine.on('storeError', errors)

  const { id } = await engine.start(order, null)
  expect(await engine.settled(id)).toMatchObject({ output: 'a' })
  expect(errors).toHaveBeenCalledWith({ during: 'load', error: new Error('connection lost') })
})

const unreadable = Object.assign(Object.create(null), {})
unreadable.self = unreadable
const trap = Object.defineProperty(new Error('trap'), 'message', {
  get: () => {
    throw new Error('gotcha')
  },
})

test.each([
  [
    'a back-off that throws',
    new Error('x'),
    {
      backoff: () => {
        throw new Error('bug')
      },
    },
  ],
  ['an object that cannot become text', unreadable, { attempts: 1 }],
  ['an error whose message throws', trap, { attempts: 1 }],
  ['an error whose name is a symbol', Object.assign(new Error('x'), { name: Symbol('x') }), { attempts: 1 }],
])('ends all the same after %s', async (_, thrown, retry) => {
  const order = saga<null>('order')
    .step(
      'a',
      () => {
        throw thrown
      },
      { retry },
    )
    .returns(() => null)
  const engine = await engineOn(memoryStore(), order)
  const { id } = await engine.start(order, null)

  expect(await engine.settled(id, { timeout: 2_000 })).toMatchObject({ status: 'compensated' })
})

test('survives listeners that reject', async () => {
  const warnings = vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined)
  const order = saga<null>('order')
    .step('a', () => 'a')
    .returns(({ results }) => results.a)
  const engine = await engineOn(memoryStore(), order)
  engine.on('stepDone', (async () => {
    throw new Error('listener')
  }) as () => void)

  await (await engine.start(order, null)).result()
  await new Promise(setImmediate)

  expect(warnings).toHaveBeenCalledWith(new Error('listener'), { code: 'MSX_SAGA_LISTENER' })
  warnings.mockRestore()
})

test('looks again at a child that ended while the wait for it was being written down', async () => {
  const go = eventType<null>('go')
  const child = saga<null>('child')
    .waitFor('go', go, { key: () => 'k' })
    .returns(() => 'done')
  const order = saga<null>('order')
    .parallel((b) => ({ child: b.child(child, () => null), never: b.waitFor(go, { key: () => 'never' }) }))
    .returns(() => 'done')
  const store = memoryStore()
  const commit = store.commit.bind(store)
  let meddled = false
  const meddling = async (batch: readonly Transition[]) => {
    const [parked] = batch
    if (!meddled && parked?.id === id && !parked.keep) {
      meddled = true
      await engine.send(go, 'k', null)
      const [{ id: childId } = { id: '' }] = (await engine.list({ name: 'child' })).items
      await engine.settled(childId)
      await engine.cancel(id, { reason: 'r' })
    }
    return commit(batch)
  }
  Object.assign(store, { commit: meddling })
  const engine = await engineOn(store, order)

  const { id } = await engine.start(order, null, { delay: 5 })

  expect(await engine.settled(id, { timeout: 4_000 })).toMatchObject({ status: 'cancelled' })
  expect(meddled).toBe(true)
})

test('waits for a free place, not for a time that has passed, when a branch is to be tried again', async () => {
  const clock = virtualClock()
  let timers = 0
  const counting = {
    now: clock.now,
    after: (ms: number, run: () => void) => {
      timers++
      return clock.after(ms, run)
    },
  }
  let finish: () => void = () => undefined
  const finished = new Promise<void>((resolve) => {
    finish = resolve
  })
  const order = saga<null>('order')
    .parallel(
      (b) => ({
        again: b.step(
          ({ attempt }) => {
            if (attempt === 1) throw new Error('not yet')
          },
          { retry: { backoff: () => 10 } },
        ),
        long: b.step(() => finished, { timeout: 1e9 }),
      }),
      { concurrency: 1 },
    )
    .returns(() => 'done')
  const engine = createSagaEngine({ store: memoryStore(), sagas: [order], clock: counting, lease: { ttl: 1e9 } })
  engines.push(engine)
  await engine.run()
  const { id } = await engine.start(order, null)
  const turn = async (ms: number): Promise<void> => {
    clock.moveTo(clock.now() + ms)
    await new Promise(setImmediate)
  }
  for (let i = 0; i < 5; i++) await turn(20)

  timers = 0
  for (let i = 0; i < 50; i++) await turn(0)
  expect(timers).toBeLessThan(5)

  finish()
  for (let i = 0; i < 5; i++) await turn(20)
  expect(await engine.get(id)).toMatchObject({ status: 'completed' })
})
