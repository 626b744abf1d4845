import { afterEach, describe, expect, test, vi } from 'vitest'
import {
  createSagaEngine,
  type Definition,
  eventType,
  memoryStore,
  type Queryable,
  type SagaEngine,
  StepRejectedError,
  type Store,
  saga,
} from './index.js'
import type { ClaimRequest, Transition } from './store.js'
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

/** A store in which `meanwhile` happens right before the first write that `isIt` says yes to. */
function meddled(isIt: (transition: Transition) => boolean, meanwhile: () => Promise<unknown>): Store<Queryable> {
  const store = memoryStore()
  const commit = store.commit.bind(store)
  let done = false
  return Object.assign(store, {
    commit: async (batch: readonly Transition[]) => {
      if (!done && batch.some(isIt)) {
        done = true
        await meanwhile()
      }
      return commit(batch)
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

describe.each([
  [
    'throws',
    () => {
      throw new Error('bug')
    },
    'bug',
  ],
  ['gives NaN', () => Number.NaN, 'what backoff returns must be milliseconds from 0 to 2147483647, not NaN'],
  ['gives less than nothing', () => -1, /not -1$/],
  ['gives no number', () => '5' as never, /not '5'$/],
  ['gives nothing', () => undefined as never, /not undefined$/],
])('a back-off that %s', (_, backoff, why) => {
  const no = vi.fn(() => {
    throw new Error('no')
  })
  const retry = { attempts: Infinity, backoff }
  const undone = vi.fn()
  const begun = saga<null>('order').step('a', () => 'a', { compensate: undone })

  test.each([
    ['fails its step', begun.step('b', no, { retry }), 'compensated'],
    ['fails its branch', begun.parallel((b) => ({ b: b.step(no, { retry }) })), 'compensated'],
    ['leaves what comes after the pivot to an operator', begun.pivot('p', () => 1).step('b', no, { retry }), 'stuck'],
    [
      'leaves a compensation to an operator',
      begun
        .step('b', () => 1, { compensate: no, undoRetry: retry })
        .step('c', () => Promise.reject(new StepRejectedError('c'))),
      'stuck',
    ],
  ] as const)('%s, and says so', async (_, steps, status) => {
    for (const mock of [no, undone]) mock.mockClear()
    const order = steps.returns(() => null) as Definition<null, unknown, null>
    const engine = await engineOn(memoryStore(), order)
    const { id } = await engine.start(order, null)

    const view = await engine.settled(id, { timeout: 4_000 })

    expect(view.status).toBe(status)
    const message = expect.stringMatching(why)
    expect(view.error).toMatchObject({ message, cause: { message: 'no' } })
    expect(view.error?.message).toMatch(/^step 'b' failed, and so did what decides on another attempt: /)
    expect(no).toHaveBeenCalledOnce()
    expect(undone).toHaveBeenCalledTimes(status === 'stuck' ? 0 : 1)
  })
})

test('runs for everybody who asks, not before it has its lease, and again after a failure', async () => {
  const store = memoryStore()
  const real = store.enlist.bind(store)
  let enlisted = false
  let failures = 1
  const slow = Object.assign(store, {
    enlist: async (worker: string, ttl: number) => {
      await new Promise(setImmediate)
      if (failures-- > 0) throw new Error('away')
      await real(worker, ttl)
      enlisted = true
    },
  })
  const engine = createSagaEngine({ store: slow, sagas: [] })
  engines.push(engine)

  const first = await Promise.allSettled([engine.run(), engine.run()])
  expect(first.map(({ status }) => status)).toEqual(['rejected', 'rejected'])
  void engine.run()
  await engine.run()
  expect(enlisted).toBe(true)
})

test('does not take a row that says more steps than there are for one that has done them all', async () => {
  const store = memoryStore()
  const real = store.claim.bind(store)
  const claim: typeof real = async (request) =>
    (await real(request)).map((row) => ({ ...row, progress: { ...row.progress, cursor: 3 } }))
  const ran = vi.fn()
  const order = saga<null>('order')
    .step('a', () => ran())
    .step('b', () => ran())
    .returns(() => 'done')
  const engine = await engineOn(Object.assign(store, { claim }), order)
  const { id } = await engine.start(order, null, { delay: 1 })

  expect(await engine.settled(id, { timeout: 5_000 })).toMatchObject({
    status: 'stuck',
    error: { message: 'it is at step 4 of 2: its row was changed by somebody else' },
  })
  expect(ran).not.toHaveBeenCalled()
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
  const meanwhile = vi.fn(async () => {
    await engine.send(go, 'k', null)
    const [{ id: childId } = { id: '' }] = (await engine.list({ name: 'child' })).items
    await engine.settled(childId)
    await engine.cancel(id, { reason: 'r' })
  })
  const parks = (write: Transition): boolean => write.id === id && !write.keep
  const engine = await engineOn(meddled(parks, meanwhile), order)

  const { id } = await engine.start(order, null, { delay: 5 })

  expect(await engine.settled(id, { timeout: 4_000 })).toMatchObject({ status: 'cancelled' })
  expect(meanwhile).toHaveBeenCalledOnce()
})

describe('a cancel that is accepted', () => {
  /** Where it comes: right before this is written. */
  const skip = ({ record }: Transition): boolean => record?.outcome === 'skipped'
  const announcement = ({ record }: Transition): boolean => record?.name === 'late' && record.outcome === 'started'
  const end = ({ progress }: Transition): boolean => progress.status === 'completed'

  const ran: string[] = []
  const undone: string[] = []
  const begun = saga<null>('order').step('a', () => 'a', { compensate: () => void undone.push('a') })
  const left = begun.when(() => false).step('left', () => void ran.push('left'))
  const late = () => void ran.push('late')
  const announced = { intent: true, compensate: () => void undone.push('late') }

  test.each([
    ['a skipped step and the pivot', skip, left.pivot('late', late).returns(() => null)],
    ['a skipped step and the end', skip, left.returns(() => null)],
    ['an announced step and its run', announcement, begun.step('late', late, announced).returns(() => null)],
    [
      'an announced branch and its run',
      announcement,
      begun.parallel((b) => ({ late: b.step(late, announced) })).returns(() => null),
    ],
  ])('between %s is kept', async (_, isIt, order) => {
    for (const list of [ran, undone]) list.splice(0)
    const answers: string[] = []
    const store = meddled(isIt, async () => void answers.push(await engine.cancel(id, { reason: 'r' })))
    const engine = await engineOn(store, order)

    const { id } = await engine.start(order as Definition<null, unknown, null>, null, { delay: 5 })

    expect(await engine.settled(id, { timeout: 4_000 })).toMatchObject({ status: 'cancelled' })
    expect([answers, ran, undone]).toEqual([['compensating'], [], ['a']])
  })

  test('is kept by whoever ends what an operator has completed', async () => {
    for (const list of [ran, undone]) list.splice(0)
    const order = begun.returns(() => null)
    const cancel = vi.fn(() => engine.cancel(id, { reason: 'r' }))
    const store = meddled(end, cancel)
    const claim = store.claim.bind(store)
    const claims = { claims: 99 }
    Object.assign(store, {
      claim: async (request: ClaimRequest) => (await claim(request)).map((row) => ({ ...row, ...claims })),
    })
    const engine = await engineOn(store, order)
    // Without the definition, and so without its `returns`.
    const operator = createSagaEngine({ store, sagas: [] })
    engines.push(operator)
    const { id } = await engine.start(order, null, { delay: 5 })
    const { rev } = await operator.settled(id)
    claims.claims = 1
    await operator.resume(id, { do: 'complete', step: 'a', by: 'ann', reason: 'done by hand', rev, result: 'a' })

    expect(await engine.settled(id)).toMatchObject({ status: 'cancelled' })
    expect(cancel).toHaveBeenCalledOnce()
    expect(undone).toEqual(['a'])
  })

  test('is not waited through when its answer comes with that of a write', async () => {
    for (const list of [ran, undone]) list.splice(0)
    const go = eventType<null>('go')
    const order = begun.waitFor('never', go, { key: () => 'never' }).returns(() => null)
    const engine = await engineOn(
      lossy('commit', () => engine.cancel(id, { reason: 'r' })),
      order,
    )

    const { id } = await engine.start(order, null, { delay: 5 })

    expect(await engine.settled(id, { timeout: 4_000 })).toMatchObject({ status: 'cancelled' })
    expect(undone).toEqual(['a'])
  })

  test('is accepted again before a pivot that a worker has claimed meanwhile', async () => {
    const store = memoryStore()
    const order = saga<null>('order')
      .pivot('pay', () => 'paid')
      .returns(() => null)
    const desk = createSagaEngine({ store, sagas: [order] })
    engines.push(desk)
    const { id } = await desk.start(order, null)
    const cancel = () => desk.cancel(id, { reason: 'r' })

    expect(await cancel()).toBe('compensating')
    const worker = crypto.randomUUID()
    await store.enlist(worker, 60_000)
    const claimed = await store.claim({ worker, can: [{ name: 'order', version: 1 }], limit: 1 })

    expect(claimed.map((row) => row.id)).toEqual([id])
    expect(await cancel()).toBe('compensating')
  })
})

test('the place of a saga is kept while the answer to what its last run wrote is late', async () => {
  let arrive: () => void = () => undefined
  let claimedAgain: () => void = () => undefined
  const [arrived, again] = [new Promise<void>((go) => (arrive = go)), new Promise<void>((go) => (claimedAgain = go))]
  let finish: () => void = () => undefined
  const finished = new Promise<void>((go) => (finish = go))
  const order = saga<null>('order')
    .step(
      'a',
      async ({ attempt }) => {
        if (attempt === 1) throw new Error('not yet')
        claimedAgain()
        await finished
      },
      { retry: { backoff: () => 0 } },
    )
    .returns(() => 'done')
  const store = memoryStore()
  const commit = store.commit.bind(store)
  const late = async (batch: readonly Transition[]) => {
    const accepted = await commit(batch)
    if (batch.some(({ keep, finished: over }) => !keep && !over)) await arrived
    return accepted
  }
  const engine = await engineOn(Object.assign(store, { commit: late }), order)

  const { id } = await engine.start(order, null, { delay: 1 })
  await again
  arrive()
  await new Promise(setImmediate)

  expect(engine.snapshot().running).toBe(1)
  finish()
  expect(await engine.settled(id)).toMatchObject({ status: 'completed' })
  expect((await store.load(id))?.fence).toBe(3)
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
