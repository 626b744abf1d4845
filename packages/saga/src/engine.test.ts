import { afterAll, beforeAll, describe, expect, vi } from 'vitest'
import {
  type CompensateContext,
  createSagaEngine,
  NonRetryableError,
  type Queryable,
  StepRejectedError,
  type Store,
  saga,
} from './index.js'
import type { TestDatabase } from './testing/databases.js'
import { everyStore, gate, KINDS } from './testing/every-store.js'
import { mortal } from './testing/mortal.js'

const onStore = await everyStore()
const now = { backoff: () => 0 }
const once = { ...now, attempts: 1 }

let names = 0
const unique = (): string => `saga-${++names}`

describe.each(KINDS)('a saga on %s', (kind) => {
  const fixture = onStore(kind)
  const { it, engineFor, database } = fixture
  // A store in memory has no transactions, so what is said of them is not said of it.
  const inDatabase: (name: string, tests: () => void) => void = kind === 'memory' ? () => {} : describe
  const effect = `msx_saga_effect_${crypto.randomUUID().slice(0, 8)}`
  let store: Store<Queryable>

  beforeAll(async () => {
    store = fixture.store
    await database?.pool.query(`CREATE TABLE ${effect} (saga text, step text)`)
  })

  afterAll(async () => {
    await database?.pool.query(`DROP TABLE ${effect}`)
  })

  it('runs its steps in order and gives each the stored results of the earlier ones', async () => {
    const seen: unknown[] = []
    const order = saga<{ at: Date }>(unique())
      .step('a', ({ input, attempt, key, sagaId }) => {
        seen.push(input.at, attempt, key === `${sagaId}:a:do`)
        return { when: new Date(0), nothing: undefined }
      })
      .step('b', ({ results }) => void seen.push(results.a))
      .returns(({ results }) => [results.a.when, results.b])
    const engine = await engineFor([order])

    const handle = await engine.start(order, { at: new Date(1) })

    expect(await handle.result()).toEqual(['1970-01-01T00:00:00.000Z', null])
    expect(seen).toEqual(['1970-01-01T00:00:00.001Z', 1, true, { when: '1970-01-01T00:00:00.000Z' }])
    expect(await engine.get(handle.id)).toMatchObject({ status: 'completed', finishedAt: expect.any(Date) })
  })

  it('takes milliseconds when nothing else is going on', async () => {
    const quick = saga<null>(unique())
      .step('a', () => 1)
      .step('b', () => 2)
      .returns(() => 'done')
    const engine = await engineFor([quick])
    await (await engine.start(quick, null)).result()
    // Let the idle polls grow to their longest.
    await new Promise((resolve) => setTimeout(resolve, 300))

    const began = performance.now()
    await (await engine.start(quick, null)).result()

    expect(performance.now() - began).toBeLessThan(300)
  })

  it('undoes what was applied in reverse, the doubtful step first, knowing what is known', async () => {
    const undone: unknown[] = []
    const undo = (c: CompensateContext<null, unknown, unknown>): void => {
      undone.push([c.key.split(':')[1], c.outcome.known ? c.outcome.result : 'in doubt', (c.cause as Error).message])
      expect(c.forwardKey).toBe(c.key.replace(/undo$/, 'do'))
    }
    const order = saga<null>(unique())
      .step('a', () => 1, { compensate: undo })
      .step('b', () => 2)
      .step('c', () => 3, { compensate: undo })
      .step('d', () => Promise.reject(new Error('no')), { retry: once, compensate: undo })
      .step('e', () => 5, { compensate: undo })
      .returns(() => null)
    const engine = await engineFor([order])

    const handle = await engine.start(order, null)

    await expect(handle.result()).rejects.toMatchObject({
      code: 'MSX_SAGA_FAILED',
      sagaId: handle.id,
      cause: { message: 'no' },
    })
    expect(undone).toEqual([
      ['d', 'in doubt', 'no'],
      ['c', 3, 'no'],
      ['a', 1, 'no'],
    ])
    expect(await engine.get(handle.id)).toMatchObject({ status: 'compensated' })
  })

  it('does not undo a step that was surely not applied', async () => {
    const undone: string[] = []
    const failing = (name: string, run: () => never, inDoubt?: 'assume-not-applied') =>
      saga<null>(name)
        .step('a', () => 1, { compensate: () => void undone.push(`${name} a`) })
        .step('b', run, { retry: once, inDoubt, compensate: () => void undone.push(`${name} b`) })
        .returns(() => null)
    const [rejected, assumed] = [unique(), unique()]
    const definitions = [
      failing(rejected, () => {
        throw new StepRejectedError('declined')
      }),
      failing(
        assumed,
        () => {
          throw new Error('no')
        },
        'assume-not-applied',
      ),
    ]
    const engine = await engineFor(definitions)

    for (const definition of definitions) {
      await expect((await engine.start(definition, null)).result()).rejects.toThrow('compensated')
    }

    expect(undone).toEqual([`${rejected} a`, `${assumed} a`])
  })

  it('undoes a step that was refused after an attempt that left it in doubt', async () => {
    const undone: boolean[] = []
    const order = saga<null>(unique())
      .step(
        'a',
        ({ attempt }) => {
          throw attempt === 1 ? new Error('connection reset') : new StepRejectedError('sold out')
        },
        { retry: now, compensate: ({ outcome }) => void undone.push(outcome.known) },
      )
      .returns(() => null)
    const engine = await engineFor([order])

    await expect((await engine.start(order, null)).result()).rejects.toThrow('sold out')

    expect(undone).toEqual([false])
  })

  it('tries a step three times before the pivot, unless the error says not to', async () => {
    const attempts: number[] = []
    const stubborn = saga<{ error: 'plain' | 'final' }>(unique())
      .step(
        'a',
        ({ input, attempt }) => {
          attempts.push(attempt)
          throw input.error === 'plain' ? new Error('no') : new NonRetryableError('never')
        },
        { retry: now },
      )
      .returns(() => null)
    const engine = await engineFor([stubborn])

    await expect((await engine.start(stubborn, { error: 'plain' })).result()).rejects.toThrow('no')
    await expect((await engine.start(stubborn, { error: 'final' })).result()).rejects.toThrow('never')

    expect(attempts).toEqual([1, 2, 3, 1])
  })

  it('asks shouldRetry', async () => {
    const shouldRetry = vi.fn(() => false)
    const picky = saga<null>(unique())
      .step('a', () => Promise.reject(new Error('no')), { retry: { shouldRetry } })
      .returns(() => null)
    const engine = await engineFor([picky])

    await expect((await engine.start(picky, null)).result()).rejects.toThrow('no')

    expect(shouldRetry).toHaveBeenCalledExactlyOnceWith({ ok: false, error: new Error('no') }, 1)
  })

  it('tries what comes after the pivot until it is done', async () => {
    let failures = 6
    const order = saga<null>(unique())
      .pivot('pay', () => 'paid')
      .step(
        'ship',
        () => {
          if (failures-- > 0) throw new Error('not yet')
          return 'shipped'
        },
        { retry: now },
      )
      .returns(({ results }) => results.ship)
    const engine = await engineFor([order])

    expect(await (await engine.start(order, null)).result()).toBe('shipped')
  })

  it('undoes everything when the pivot says no', async () => {
    const undone: string[] = []
    const order = saga<null>(unique())
      .step('a', () => 1, { compensate: () => void undone.push('a') })
      .pivot('pay', () => Promise.reject(new Error('declined')), { retry: once })
      .returns(() => null)
    const engine = await engineFor([order])

    await expect((await engine.start(order, null)).result()).rejects.toMatchObject({ cause: { message: 'declined' } })

    expect(undone).toEqual(['a'])
  })

  it('is stuck when the pivot does not answer, and goes where an operator sends it', async () => {
    const undone: string[] = []
    const order = saga<null>(unique())
      .step('a', () => 1, { compensate: () => void undone.push('a') })
      .pivot('pay', () => new Promise<never>(() => undefined), { retry: once, timeout: 20 })
      .returns(() => null)
    const engine = await engineFor([order])
    const handle = await engine.start(order, null)

    await expect(handle.result()).rejects.toMatchObject({
      code: 'MSX_SAGA_STUCK',
      step: 'pay',
      cause: { code: 'MSX_SAGA_STEP_TIMEOUT' },
    })
    expect(await engine.cancel(handle.id, { reason: 'changed my mind' })).toBe('refused-after-pivot')
    const { rev } = await engine.settled(handle.id)
    await engine.resume(handle.id, { step: 'pay', by: 'ann', reason: 'not charged', rev, do: 'compensate' })

    expect(await engine.settled(handle.id)).toMatchObject({ status: 'compensated' })
    expect(undone).toEqual(['a'])
  })

  it('is stuck after the pivot when a step gives up, is never unwound, and goes on when told to try again', async () => {
    let broken = true
    const compensate = vi.fn()
    const order = saga<null>(unique())
      .step('a', () => 1, { compensate })
      .pivot('pay', () => 'paid')
      .step(
        'ship',
        () => {
          if (broken) throw new Error('no van')
          return 'shipped'
        },
        { retry: once },
      )
      .returns(({ results }) => results.ship)
    const engine = await engineFor([order])
    const handle = await engine.start(order, null)
    await expect(handle.result()).rejects.toMatchObject({ code: 'MSX_SAGA_STUCK', step: 'ship' })
    const { rev, step, status } = await engine.settled(handle.id)
    expect([step, status]).toEqual(['ship', 'stuck'])
    const decision = { step: 'ship', by: 'ann', reason: 'van repaired', rev } as const

    await expect(engine.resume(handle.id, { ...decision, do: 'compensate' })).rejects.toMatchObject({
      code: 'MSX_SAGA_CONFLICT',
    })
    await expect(engine.resume(handle.id, { ...decision, rev: rev - 1, do: 'retry' })).rejects.toMatchObject({
      code: 'MSX_SAGA_CONFLICT',
    })
    await expect(engine.resume(handle.id, { ...decision, step: 'pay', do: 'retry' })).rejects.toMatchObject({
      code: 'MSX_SAGA_CONFLICT',
    })
    broken = false
    expect(await engine.resume(handle.id, { ...decision, do: 'retry' })).toMatchObject({ status: 'running' })

    expect(await handle.result()).toBe('shipped')
    expect(compensate).not.toHaveBeenCalled()
    const { note, kind } = (await engine.history(handle.id)).find(({ kind }) => kind === 'operator') ?? {}
    expect([kind, note]).toEqual(['operator', { do: 'retry', by: 'ann', reason: 'van repaired' }])
  })

  it.each([
    ['skip', undefined],
    ['complete', 'by hand'],
  ] as const)('takes an operator for a step: %s', async (what, shipped) => {
    const order = saga<null>(unique())
      .pivot('pay', () => 'paid')
      .step('ship', (): string => Promise.reject(new Error('no van')) as never, { retry: once })
      .returns(({ results }) => results.ship ?? 'not shipped')
    const engine = await engineFor([order])
    const handle = await engine.start(order, null)
    const { rev } = await engine.settled(handle.id)

    await engine.resume(handle.id, {
      step: 'ship',
      by: 'ann',
      reason: 'r',
      rev,
      do: what as 'complete',
      result: 'by hand',
    })

    expect(await handle.result()).toBe(shipped ?? 'not shipped')
  })

  it('is stuck when a compensation gives up, and unwinds the rest once that is settled', async () => {
    const undone: string[] = []
    const order = saga<null>(unique())
      .step('a', () => 1, { compensate: () => void undone.push('a') })
      .step('b', () => 2, {
        undoRetry: { ...now, attempts: 2 },
        compensate: () => Promise.reject(new Error('no undo')),
      })
      .step('c', () => Promise.reject(new StepRejectedError('no')))
      .returns(() => null)
    const engine = await engineFor([order])
    const failed = vi.fn()
    engine.on('stepUndoFailed', failed)
    const handle = await engine.start(order, null)
    await expect(handle.result()).rejects.toMatchObject({
      code: 'MSX_SAGA_STUCK',
      step: 'b',
      cause: { message: 'no undo' },
    })
    expect(undone).toEqual([])
    expect(failed).toHaveBeenCalledOnce()

    const { rev } = await engine.settled(handle.id)
    await engine.resume(handle.id, { step: 'b', by: 'ann', reason: 'undone by hand', rev, do: 'skip' })

    await expect(handle.result()).rejects.toMatchObject({ code: 'MSX_SAGA_FAILED', cause: { message: 'no' } })
    expect(undone).toEqual(['a'])
    expect((await engine.history(handle.id)).map(({ name, kind, outcome }) => `${name} ${kind} ${outcome}`)).toEqual([
      'a do ok',
      'b do ok',
      'c do failed',
      'b undo failed',
      'b undo failed',
      'b undo skipped',
      'a undo ok',
    ])
  })

  it('is given up when an operator abandons it', async () => {
    const order = saga<null>(unique())
      .pivot('pay', () => 1)
      .step('ship', () => Promise.reject(new Error('no van')), { retry: once })
      .returns(() => null)
    const engine = await engineFor([order])
    const handle = await engine.start(order, null)
    const { rev } = await engine.settled(handle.id)

    await engine.resume(handle.id, { step: 'ship', by: 'ann', reason: 'refunded', rev, do: 'abandon' })

    expect(await engine.get(handle.id)).toMatchObject({ status: 'abandoned' })
    await expect(handle.result()).rejects.toMatchObject({ code: 'MSX_SAGA_FAILED' })
  })

  it('is unwound when cancelled, with the result that the running step still gave', async () => {
    const [started, answer] = [gate(), gate<string>()]
    const undone: unknown[] = []
    const order = saga<null>(unique())
      .step('a', () => 1, { compensate: () => void undone.push('a') })
      .step(
        'b',
        async ({ signal }) => {
          signal.addEventListener('abort', () => answer.open('late'), { once: true })
          started.open()
          return answer.promise
        },
        { compensate: ({ outcome, cause }) => void undone.push([outcome, (cause as Error).message]) },
      )
      .pivot('pay', () => 1)
      .returns(() => null)
    const engine = await engineFor([order])
    const handle = await engine.start(order, null)
    await started.promise

    expect(await engine.cancel(handle.id, { reason: 'changed my mind' })).toBe('compensating')
    expect(await engine.cancel(handle.id, { reason: 'again' })).toBe('compensating')

    await expect(handle.result()).rejects.toMatchObject({
      code: 'MSX_SAGA_FAILED',
      cause: { code: 'MSX_SAGA_CANCELLED', message: 'changed my mind' },
    })
    expect(undone).toEqual([[{ known: true, result: 'late' }, 'changed my mind'], 'a'])
    expect(await engine.get(handle.id)).toMatchObject({ status: 'cancelled' })
    expect(await engine.cancel(handle.id, { reason: 'again' })).toBe('already-finished')
  })

  it('refuses a cancel while the pivot runs and after it', async () => {
    const [inPivot, pay, inShip, ship] = [gate(), gate(), gate(), gate()]
    const order = saga<null>(unique())
      .pivot('pay', () => {
        inPivot.open()
        return pay.promise
      })
      .step('ship', () => {
        inShip.open()
        return ship.promise
      })
      .returns(() => 'ok')
    const engine = await engineFor([order])
    const handle = await engine.start(order, null)

    await inPivot.promise
    expect(await engine.cancel(handle.id, { reason: 'r' })).toBe('refused-after-pivot')
    pay.open()
    await inShip.promise
    expect(await engine.cancel(handle.id, { reason: 'r' })).toBe('refused-after-pivot')
    ship.open()

    expect(await handle.result()).toBe('ok')
  })

  it('runs nothing of a saga that is cancelled before it begins', async () => {
    const run = vi.fn()
    const order = saga<null>(unique())
      .step('a', run, { compensate: run })
      .returns(() => null)
    const engine = await engineFor([order])
    const handle = await engine.start(order, null, { delay: 60_000 })
    expect(await engine.get(handle.id)).toMatchObject({ status: 'waiting' })

    await engine.cancel(handle.id, { reason: 'r' })

    expect(await engine.settled(handle.id)).toMatchObject({ status: 'cancelled' })
    expect(run).not.toHaveBeenCalled()
  })

  it('starts once per key', async () => {
    const run = vi.fn(() => 'ran')
    const order = saga<{ n: number }>(unique())
      .step('a', run)
      .returns(({ results }) => results.a)
    const engine = await engineFor([order])

    const first = await engine.start(order, { n: 1 }, { key: 'k' })
    const second = await engine.start(order, { n: 1 }, { key: 'k' })

    expect([first.created, second.created, second.id]).toEqual([true, false, first.id])
    expect(await Promise.all([first.result(), second.result()])).toEqual(['ran', 'ran'])
    expect(run).toHaveBeenCalledOnce()
    await expect(engine.start(order, { n: 2 }, { key: 'k' })).rejects.toMatchObject({
      code: 'MSX_SAGA_CONFLICT',
      sagaId: first.id,
    })
  })

  it('waits for its delay', async () => {
    const order = saga<null>(unique())
      .step('a', () => performance.now())
      .returns(({ results }) => results.a)
    const engine = await engineFor([order])

    const began = performance.now()
    const handle = await engine.start(order, null, { delay: 150 })

    expect((await handle.result()) - began).toBeGreaterThan(140)
  })

  it('is unwound when its deadline passes before the pivot, and not after', async () => {
    const undone: string[] = []
    const slow = (name: string) => saga<null>(name).step('a', () => 1, { compensate: () => void undone.push(name) })
    const early = slow(unique())
      .step(
        'b',
        ({ signal }) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
      )
      .pivot('pay', () => 1)
      .returns(() => null)
    const late = slow(unique())
      .pivot('pay', () => 1)
      .step('b', () => new Promise((resolve) => setTimeout(resolve, 150)))
      .returns(() => 'in the end')
    const engine = await engineFor([early, late])

    const handles = [
      await engine.start(early, null, { deadline: 80 }),
      await engine.start(late, null, { deadline: 80 }),
    ]

    await expect(handles[0]?.result()).rejects.toMatchObject({ cause: { code: 'MSX_SAGA_DEADLINE' } })
    expect(await handles[1]?.result()).toBe('in the end')
    expect(undone).toEqual([early.name])
  })

  it('is found by its tags, page by page', async () => {
    const order = saga<number>(unique())
      .step('a', () => 1)
      .returns(() => null)
    const engine = await engineFor([order])
    const ids: string[] = []
    for (let i = 0; i < 3; i++) ids.unshift((await engine.start(order, i, { tags: { shop: order.name } })).id)

    const first = await engine.list({ tags: { shop: order.name } }, { limit: 2 })
    const second = await engine.list({ tags: { shop: order.name } }, { limit: 2, after: first.next })

    expect([...first.items, ...second.items].map(({ id }) => id)).toEqual(ids)
    expect([first.items.length, second.next]).toEqual([2, undefined])
    expect((await engine.list({ name: order.name, status: 'stuck' })).items).toEqual([])
  })

  it('tells its history as text', async () => {
    const order = saga<null>('order')
      .step('reserve', () => 1, { compensate: () => undefined })
      .step('pay', () => Promise.reject(new StepRejectedError('declined')))
      .returns(() => null)
    const engine = await engineFor([order])
    const { id } = await engine.start(order, null)
    await engine.settled(id)

    const lines = (await engine.timeline(id)).replaceAll(/\d+ ms/g, 'n ms').replaceAll(/ +/g, ' ')

    expect(lines).toBe(
      `order ${id} compensated after n ms\n +n ms reserve ok in n ms\n +n ms pay failed in n ms: declined\n +n ms reserve undo ok in n ms`,
    )
  })

  it('parks an announced step in doubt instead of running it twice', async () => {
    const run = vi.fn(() => new Promise<never>(() => undefined))
    const order = saga<null>(unique())
      .step('a', run, { intent: true })
      .returns(() => null)
    const doomed = mortal(store)
    const first = createSagaEngine({ store: doomed.store, sagas: [order], lease: { ttl: 150 } })
    await first.run()
    const { id } = await first.start(order, null)
    await vi.waitFor(() => expect(run).toHaveBeenCalledOnce())
    doomed.kill()

    const second = await engineFor([order])

    expect(await second.settled(id, { timeout: 4_000 })).toMatchObject({ status: 'stuck', step: 'a' })
    expect(run).toHaveBeenCalledOnce()
  })

  it('goes on in another engine when its process dies: twenty at once', async () => {
    let alive = true
    const order = saga<number>(unique())
      .step('a', ({ input }) => input)
      .step('b', ({ results }) => (alive ? new Promise<never>(() => undefined) : results.a * 2))
      .returns(({ results }) => results.b)
    const doomed = mortal(store)
    const first = createSagaEngine({ store: doomed.store, sagas: [order], lease: { ttl: 200 } })
    await first.run()
    const ids = await Promise.all(Array.from({ length: 20 }, async (_, i) => (await first.start(order, i)).id))
    await vi.waitFor(async () => {
      for (const id of ids) expect(await first.history(id)).toHaveLength(1)
    })
    doomed.kill()
    alive = false

    const second = await engineFor([order])

    const views = await Promise.all(ids.map((id) => second.settled(id, { timeout: 4_000 })))
    expect(views.map(({ output }) => output)).toEqual(ids.map((_, i) => i * 2))
  })

  it('writes nothing more once another engine owns the saga', async () => {
    const [inZombie, zombie] = [gate(), gate<string>()]
    let runs = 0
    const order = saga<null>(unique())
      .step('a', async () => {
        if (++runs > 1) return 'second'
        inZombie.open()
        return zombie.promise
      })
      .returns(({ results }) => results.a)
    // The first engine cannot renew its lease, and does not notice.
    const stalled = Object.assign(Object.create(store) as Store<Queryable>, {
      beat: async () => true,
      sweep: async () => 0,
      create: (...args: Parameters<typeof store.create>) => store.create(...args),
      claim: (...args: Parameters<typeof store.claim>) => store.claim(...args),
      commit: (...args: Parameters<typeof store.commit>) => store.commit(...args),
      load: (...args: Parameters<typeof store.load>) => store.load(...args),
      enlist: (...args: Parameters<typeof store.enlist>) => store.enlist(...args),
      leave: (...args: Parameters<typeof store.leave>) => store.leave(...args),
      describe: (...args: Parameters<typeof store.describe>) => store.describe(...args),
    })
    const first = await engineFor([order], { store: stalled, lease: { ttl: 200 } })
    const handle = await first.start(order, null)
    await inZombie.promise

    const second = await engineFor([order])
    expect((await second.settled(handle.id, { timeout: 4_000 })).output).toBe('second')
    zombie.open('zombie')
    await new Promise((resolve) => setTimeout(resolve, 30))

    expect((await second.get(handle.id))?.output).toBe('second')
    expect(await second.history(handle.id)).toHaveLength(1)
  })

  it('hands its sagas over at once when it is closed, after the running step has ended', async () => {
    const [inA, a] = [gate(), gate<string>()]
    const ran: string[] = []
    const order = saga<null>(unique())
      .step('a', () => {
        ran.push('a')
        inA.open()
        return a.promise
      })
      .step('b', () => void ran.push('b'))
      .returns(({ results }) => results.a)
    const first = await engineFor([order])
    const handle = await first.start(order, null)
    const waiting = handle.result().catch((error: unknown) => error)
    await inA.promise

    const closing = first.close()
    a.open('done')
    await closing
    expect(ran).toEqual(['a'])
    expect(await waiting).toMatchObject({ code: 'MSX_SAGA_CLOSED' })
    await expect(first.start(order, null)).rejects.toMatchObject({ code: 'MSX_SAGA_CLOSED' })

    const second = await engineFor([order])
    expect((await second.settled(handle.id, { timeout: 1_000 })).output).toBe('done')
    expect(ran).toEqual(['a', 'b'])
  })

  it('hands over a step that does not end within the timeout of close', async () => {
    let runs = 0
    const inA = gate()
    const order = saga<null>(unique())
      .step('a', () => {
        inA.open()
        return ++runs === 1 ? new Promise<never>(() => undefined) : 'second'
      })
      .returns(({ results }) => results.a)
    const first = await engineFor([order])
    const { id } = await first.start(order, null)
    await inA.promise

    await first.close({ timeout: 20 })

    const second = await engineFor([order])
    expect((await second.settled(id, { timeout: 1_000 })).output).toBe('second')
  })

  it('records a result once when the answer to its write is lost', async () => {
    const run = vi.fn(() => 'done')
    const order = saga<null>(unique())
      .step('a', () => 1)
      .step('b', run)
      .returns(({ results }) => results.b)
    let lost = 0
    const lossy = Object.assign(Object.create(store) as Store<Queryable>, {
      commit: async (batch: Parameters<typeof store.commit>[0]) => {
        const accepted = await store.commit(batch)
        if (lost++ < 2) throw new Error('connection lost')
        return accepted
      },
    })
    for (const verb of ['create', 'claim', 'load', 'describe', 'enlist', 'beat', 'sweep', 'leave'] as const)
      Object.assign(lossy, { [verb]: (store[verb] as (...a: never[]) => unknown).bind(store) })
    const engine = await engineFor([order], { store: lossy })
    const errors = vi.fn()
    engine.on('storeError', errors)

    const handle = await engine.start(order, null)

    expect(await handle.result()).toBe('done')
    expect(run).toHaveBeenCalledOnce()
    expect((await engine.history(handle.id)).map(({ name }) => name)).toEqual(['a', 'b'])
    expect(errors).toHaveBeenCalledWith({ during: 'commit', error: new Error('connection lost') })
  })

  inDatabase('in the database', () => {
    const effects = async (id: string): Promise<string[]> =>
      (await (database as TestDatabase).pool.query(`SELECT step FROM ${effect} WHERE saga = $1`, [id])).rows.map(
        (row) => row.step as string,
      )
    const write = (tx: Queryable, id: string, step: string) =>
      tx.query(`INSERT INTO ${effect} VALUES ($1, $2)`, [id, step])

    it('commits a transactional step with its checkpoint, and undoes it in one too', async () => {
      const order = saga<null>(unique())
        .txStep('a', async (tx, { sagaId }) => void (await write(tx, sagaId, 'a')), {
          compensate: async (tx, { sagaId }) => void (await write(tx, sagaId, 'undo a')),
        })
        .txStep(
          'b',
          async (tx, { sagaId }) => {
            await write(tx, sagaId, 'b')
            throw new Error('no')
          },
          { retry: now, compensate: async (tx, { sagaId }) => void (await write(tx, sagaId, 'undo b')) },
        )
        .txPivot('c', () => 1)
        .returns(() => null)
      const engine = await engineFor([order])
      const { id } = await engine.start(order, null)

      expect(await engine.settled(id)).toMatchObject({ status: 'compensated' })

      expect(await effects(id)).toEqual(['a', 'undo a'])
      expect((await engine.history(id)).map(({ name, outcome }) => `${name} ${outcome}`)).toEqual([
        'a ok',
        'b failed',
        'b failed',
        'b failed',
        'a ok',
      ])
    })

    it('rolls a transactional step back that runs out of time, and locks it out of what follows', async () => {
      const late = gate<unknown>()
      const order = saga<null>(unique())
        .txStep(
          'a',
          async (tx, { sagaId, attempt }) => {
            await write(tx, sagaId, `a${attempt}`)
            if (attempt > 1) return
            await new Promise((resolve) => setTimeout(resolve, 120))
            await write(tx, sagaId, 'zombie').catch(late.open)
          },
          { retry: now, timeout: 40 },
        )
        .returns(() => null)
      const engine = await engineFor([order])
      const { id } = await engine.start(order, null)

      expect(await engine.settled(id)).toMatchObject({ status: 'completed' })

      await late.promise
      expect(await effects(id)).toEqual(['a2'])
    })

    it('takes the transaction away from a step that has ended', async () => {
      let leaked: Queryable | undefined
      const order = saga<null>(unique())
        .txStep('a', (tx) => {
          leaked = tx
        })
        .returns(() => null)
      const engine = await engineFor([order])

      await (await engine.start(order, null)).result()

      await expect(leaked?.query('SELECT 1')).rejects.toThrow('this transaction is over')
    })

    it('begins soon after the transaction commits that it was started in', async () => {
      const order = saga<null>(unique())
        .step('a', () => 1)
        .returns(() => 'done')
      const engine = await engineFor([order])
      // Let the idle polls grow to their longest.
      await new Promise((resolve) => setTimeout(resolve, 600))

      const handle = await (database as TestDatabase).transaction(async (tx) => {
        const started = await engine.start(order, null, { key: 'k', tx })
        await new Promise((resolve) => setTimeout(resolve, 100))
        return started
      })
      const committed = performance.now()

      expect(await handle.result()).toBe('done')
      expect(performance.now() - committed).toBeLessThan(400)
    })

    it('never was when the transaction rolls back that it was started in', async () => {
      const run = vi.fn()
      const order = saga<null>(unique())
        .step('a', run)
        .returns(() => 'done')
      const engine = await engineFor([order])
      let id = ''

      await expect(
        (database as TestDatabase).transaction(async (tx) => {
          id = (await engine.start(order, null, { key: 'k', tx })).id
          throw new Error('rolled back')
        }),
      ).rejects.toThrow('rolled back')
      await new Promise((resolve) => setTimeout(resolve, 50))

      expect(await engine.get(id)).toBeUndefined()
      expect(run).not.toHaveBeenCalled()
      expect((await engine.start(order, null, { key: 'k' })).created).toBe(true)
    })

    it('refuses a cancel that comes while a transactional pivot commits', async () => {
      const [inPivot, shipping] = [gate(), gate()]
      const order = saga<null>(unique())
        .txPivot('a', async (tx, { sagaId }) => {
          await write(tx, sagaId, 'a')
          inPivot.open()
          await new Promise((resolve) => setTimeout(resolve, 50))
        })
        .step('b', () => shipping.promise)
        .returns(() => 'done')
      const engine = await engineFor([order])
      const handle = await engine.start(order, null)
      await inPivot.promise

      // The cancel waits for the row, and by then the pivot has succeeded.
      expect(await engine.cancel(handle.id, { reason: 'r' })).toBe('refused-after-pivot')

      shipping.open()
      expect(await handle.result()).toBe('done')
      expect(await effects(handle.id)).toEqual(['a'])
    })
  })
})
