import { beforeAll, describe, expect, vi } from 'vitest'
import {
  createSagaEngine,
  eventType,
  type Queryable,
  type SagaEngine,
  StepRejectedError,
  type Store,
  saga,
} from './index.js'
import { FRESH } from './state.js'
import type { TestDatabase } from './testing/databases.js'
import { everyStore, gate, KINDS } from './testing/every-store.js'
import { mortal } from './testing/mortal.js'

const onStore = await everyStore()
const once = { attempts: 1, backoff: () => 0 }

let names = 0
const unique = (): string => `flow-${++names}`

describe.each(KINDS)('on %s', { timeout: 20_000 }, (kind) => {
  const fixture = onStore(kind)
  const { it, engineFor, database } = fixture
  // A store in memory has no transactions, so what is said of them is not said of it.
  const inDatabase: (name: string, run: () => Promise<void>) => void = kind === 'memory' ? () => {} : it
  let store: Store<Queryable>

  beforeAll(async () => {
    store = fixture.store
  })

  const waiting = (engine: SagaEngine, id: string) =>
    vi.waitFor(
      async () => {
        const view = await engine.get(id)
        expect([view?.status, (await engine.history(id)).length > 0]).toEqual(['waiting', true])
        return view
      },
      { timeout: 5_000, interval: 5 },
    )

  describe('a sleep', () => {
    it('lasts, is not held by any process, and is no result', async () => {
      const order = saga<null>(unique())
        .step('a', () => performance.now())
        .sleep('pause', ({ results }) => (results.a > 0 ? 200 : 0))
        .step('b', ({ results }) => performance.now() - results.a)
        .returns(({ results }) => ({ slept: results.b, keys: Object.keys(results) }))
      const engine = await engineFor([order])
      const handle = await engine.start(order, null)
      const { wakeAt } = (await waiting(engine, handle.id)) ?? {}
      expect(wakeAt).toBeInstanceOf(Date)

      const { slept, keys } = await handle.result()

      expect(slept).toBeGreaterThan(195)
      expect(keys).toEqual(['a', 'b'])
      expect((await engine.history(handle.id)).map(({ kind, outcome }) => `${kind} ${outcome}`)).toEqual([
        'do ok',
        'sleep started',
        'sleep ok',
        'do ok',
      ])
    })

    it('of years does not end at once, and a delayed start neither', async () => {
      const order = saga<null>(unique())
        .sleep('pause', 2 ** 32 + 1)
        .returns(() => null)
      const engine = await engineFor([order])
      const [slept, delayed] = [await engine.start(order, null), await engine.start(order, null, { delay: 2 ** 33 })]

      const view = await waiting(engine, slept.id)
      await new Promise((resolve) => setTimeout(resolve, 50))

      expect((view?.wakeAt?.getTime() ?? 0) - Date.now()).toBeGreaterThan(2 ** 32 - 60_000)
      expect((await engine.get(slept.id))?.status).toBe('waiting')
      expect((await engine.get(delayed.id))?.status).toBe('waiting')
    })

    it('ends when the saga is cancelled, and at its deadline', async () => {
      const undone: string[] = []
      const order = saga<string>(unique())
        .step('a', () => 1, { compensate: ({ input }) => void undone.push(input) })
        .sleep('pause', 60_000)
        .returns(() => null)
      const engine = await engineFor([order])
      const cancelled = await engine.start(order, 'cancelled')
      const late = await engine.start(order, 'late', { deadline: 150 })
      await waiting(engine, cancelled.id)
      await engine.cancel(cancelled.id, { reason: 'r' })

      expect((await engine.settled(cancelled.id)).status).toBe('cancelled')
      expect((await engine.settled(late.id)).status).toBe('compensated')
      expect(undone.sort()).toEqual(['cancelled', 'late'])
    })

    it('goes on in another process', async () => {
      const order = saga<null>(unique())
        .sleep('pause', 300)
        .returns(() => 'awake')
      const doomed = mortal(store)
      const first = createSagaEngine({ store: doomed.store, sagas: [order], lease: { ttl: 150 } })
      await first.run()
      const { id } = await first.start(order, null)
      await waiting(first, id)
      doomed.kill()

      expect((await (await engineFor([order])).settled(id)).output).toBe('awake')
    })

    it('that throws or is no time fails the step', async () => {
      const order = saga<null>(unique())
        .sleep('pause', () => Number.NaN)
        .returns(() => null)
      const engine = await engineFor([order])

      await expect((await engine.start(order, null)).result()).rejects.toMatchObject({
        cause: { code: 'MSX_SAGA_STEP_REJECTED', message: expect.stringContaining('must be milliseconds') },
      })
    })
  })

  describe('an event', () => {
    const paid = eventType<{ amount: number }>('paid')
    const define = (name = unique()) =>
      saga<string>(name)
        .waitFor('payment', paid, { key: ({ input }) => input })
        .returns(({ results }) => results.payment.amount)

    it('is taken by the saga that waits for its key', async () => {
      const order = define()
      const engine = await engineFor([order])
      const [a, b] = [await engine.start(order, `${order.name}a`), await engine.start(order, `${order.name}b`)]
      await waiting(engine, a.id)
      await waiting(engine, b.id)

      expect(await engine.send(paid, `${order.name}b`, { amount: 2 })).toBe('delivered')
      expect(await b.result()).toBe(2)
      expect((await engine.get(a.id))?.status).toBe('waiting')
      await engine.send(paid, `${order.name}a`, { amount: 1 })
      expect(await a.result()).toBe(1)
    })

    it('that comes before its saga is kept for it, and taken once', async () => {
      const order = define()
      const engine = await engineFor([order])
      expect(await engine.send(paid, order.name, { amount: 1 })).toBe('buffered')
      expect(await engine.send(paid, order.name, { amount: 2 })).toBe('buffered')

      expect(await (await engine.start(order, order.name)).result()).toBe(1)
      expect(await (await engine.start(order, order.name)).result()).toBe(2)
      await waiting(engine, (await engine.start(order, order.name)).id)
    })

    it('is dropped when its id came before', async () => {
      const order = define()
      const engine = await engineFor([order])
      const handle = await engine.start(order, order.name)
      await waiting(engine, handle.id)

      expect(await engine.send(paid, order.name, { amount: 1 }, { messageId: 'm' })).toBe('delivered')
      expect(await engine.send(paid, order.name, { amount: 9 }, { messageId: 'm' })).toBe('duplicate')
      expect(await handle.result()).toBe(1)
      expect(await engine.send(paid, order.name, { amount: 9 }, { messageId: 'm' })).toBe('duplicate')
      expect(await engine.send(paid, `${order.name}!`, { amount: 9 }, { messageId: 'm' })).toBe('buffered')
    })

    it('is never lost, whenever it comes', async () => {
      const order = define()
      const engine = await engineFor([order])
      const keys = Array.from({ length: 30 }, (_, i) => `${order.name}-${i}`)

      const handles = await Promise.all(
        keys.map(async (key, i) => {
          const started = engine.start(order, key)
          for (let turns = 0; turns < i; turns++) await new Promise(setImmediate)
          await engine.send(paid, key, { amount: i })
          return started
        }),
      )

      expect(await Promise.all(handles.map((handle) => handle.result()))).toEqual(keys.map((_, i) => i))
    })

    it('that does not come in time fails the step, or lets it go on without', async () => {
      const patient = saga<null>(unique())
        .waitFor('payment', paid, { key: () => 'never', timeout: 60, onTimeout: 'continue' })
        .returns(({ results }) => results.payment?.amount ?? 'nothing')
      const strict = saga<null>(unique())
        .waitFor('payment', paid, { key: () => 'never', timeout: 60 })
        .returns(() => null)
      const engine = await engineFor([patient, strict])
      const handles = [await engine.start(patient, null), await engine.start(strict, null)] as const

      expect(await handles[0].result()).toBe('nothing')
      await expect(handles[1].result()).rejects.toMatchObject({ cause: { code: 'MSX_SAGA_STEP_TIMEOUT' } })
    })

    it('delivered to a saga that is cancelled goes to the next', async () => {
      const order = define()
      const engine = await engineFor([order])
      const [first, second] = [await engine.start(order, order.name), await engine.start(order, order.name)]
      await waiting(engine, first.id)
      await waiting(engine, second.id)
      await engine.cancel(first.id, { reason: 'r' })
      expect((await engine.settled(first.id)).status).toBe('cancelled')

      await engine.send(paid, order.name, { amount: 7 })

      expect(await second.result()).toBe(7)
    })

    inDatabase('sent in a transaction is there when that commits, and never was when it rolls back', async () => {
      const { transaction } = database as TestDatabase
      const order = define()
      const engine = await engineFor([order])
      const handle = await engine.start(order, order.name)
      await waiting(engine, handle.id)

      const rolledBack = transaction(async (tx) => {
        await engine.send(paid, order.name, { amount: 1 }, { tx })
        throw new Error('no')
      })
      await expect(rolledBack).rejects.toThrow('no')
      await transaction(async (tx) => {
        expect(await engine.send(paid, order.name, { amount: 2 }, { tx, messageId: 'm' })).toBe('delivered')
      })

      expect(await handle.result()).toBe(2)
    })

    inDatabase('is not sent in a transaction that cannot see what others do', async () => {
      const engine = await engineFor([define()])

      const sent = (database as TestDatabase).transaction(async (tx) => {
        await tx.query('SET TRANSACTION ISOLATION LEVEL REPEATABLE READ')
        await engine.send(paid, 'k', { amount: 1 }, { tx })
      })

      await expect(sent).rejects.toThrow('must be of isolation READ COMMITTED, not REPEATABLE READ')
    })
  })

  describe('when', () => {
    it('leaves a step out, and writes that down', async () => {
      const ran: string[] = []
      const order = saga<{ gift: boolean }>(unique())
        .when(({ input }) => input.gift)
        .step('wrap', () => 'wrapped', { compensate: () => void ran.push('unwrap') })
        .step('ship', () => {
          throw new StepRejectedError('no van')
        })
        .returns(() => null)
      const fine = saga<{ gift: boolean }>(unique())
        .when(({ input }) => input.gift)
        .step('wrap', () => 'wrapped')
        .returns(({ results }) => results.wrap ?? 'bare')
      const engine = await engineFor([order, fine])

      expect(await (await engine.start(fine, { gift: true })).result()).toBe('wrapped')
      const bare = await engine.start(fine, { gift: false })
      expect(await bare.result()).toBe('bare')
      expect((await engine.history(bare.id)).map(({ name, outcome }) => `${name} ${outcome}`)).toEqual(['wrap skipped'])
      await engine.settled((await engine.start(order, { gift: false })).id)
      expect(ran).toEqual([])
      await engine.settled((await engine.start(order, { gift: true })).id)
      expect(ran).toEqual(['unwrap'])
    })

    it('fails its step when it throws', async () => {
      const run = vi.fn()
      const order = saga<null>(unique())
        .when(() => {
          throw new Error('bug')
        })
        .step('a', run, { compensate: run })
        .returns(() => null)
      const engine = await engineFor([order])

      await expect((await engine.start(order, null)).result()).rejects.toMatchObject({
        cause: { message: "step 'a' could not begin: bug" },
      })
      expect(run).not.toHaveBeenCalled()
    })
  })

  describe('parallel branches', () => {
    it('run at the same time, as many as they may, and their results are those of the saga', async () => {
      const [bothIn, inside] = [gate(), new Set<string>()]
      const branch = (name: string) => async () => {
        if (inside.add(name).size === 2) bothIn.open()
        await bothIn.promise
        expect(inside.size).toBeLessThanOrEqual(2)
        inside.delete(name)
        return name
      }
      const order = saga<null>(unique())
        .parallel((b) => ({ a: b.step(branch('a')), b: b.step(branch('b')), c: b.txStep(branch('c')) }), {
          concurrency: 2,
        })
        .returns(({ results }) => [results.a, results.b, results.c])
      const engine = await engineFor([order])

      expect(await (await engine.start(order, null)).result()).toEqual(['a', 'b', 'c'])
    })

    it('see the results of the steps before, and not each other', async () => {
      const seen: unknown[] = []
      const order = saga<null>(unique())
        .step('first', () => 1)
        .parallel(
          (b) => ({
            a: b.step(({ results }) => results.first + 1),
            b: b.step(({ results }) => void seen.push(Object.keys(results)), {
              compensate: ({ results }) => void seen.push(Object.keys(results)),
            }),
          }),
          { concurrency: 1 },
        )
        .step('no', ({ results }) => {
          seen.push(Object.keys(results))
          throw new StepRejectedError('no')
        })
        .returns(() => null)
      const engine = await engineFor([order])

      await engine.settled((await engine.start(order, null)).id)

      expect(seen).toEqual([['first'], ['first', 'a', 'b'], ['first']])
    })

    it('are undone in reverse, those that were applied and those in doubt, and no other begins', async () => {
      const undone: string[] = []
      const undo = (name: string) => ({ compensate: () => void undone.push(name), retry: once })
      const aborted = vi.fn()
      const never = vi.fn()
      const order = saga<null>(unique())
        .step('first', () => 1, undo('first'))
        .parallel(
          (b) => ({
            a: b.step(() => 'a', undo('a')),
            b: b.step(async ({ signal }) => {
              await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }))
              aborted()
              throw signal.reason
            }, undo('b')),
            c: b.step(() => {
              throw new StepRejectedError('no')
            }, undo('c')),
            d: b.step(never, undo('d')),
          }),
          { concurrency: 2 },
        )
        .returns(() => null)
      const engine = await engineFor([order])

      await expect((await engine.start(order, null)).result()).rejects.toMatchObject({ cause: { message: 'no' } })

      expect(aborted).toHaveBeenCalledOnce()
      expect(never).not.toHaveBeenCalled()
      expect(undone).toEqual(['b', 'a', 'first'])
    })

    it('are tried again each by its own budget', async () => {
      const attempts: string[] = []
      const flaky = (name: string, failures: number) => () => {
        attempts.push(name)
        if (attempts.filter((one) => one === name).length <= failures) throw new Error('not yet')
        return name
      }
      const retry = { attempts: 3, backoff: () => 1 }
      const order = saga<null>(unique())
        .parallel((b) => ({
          a: b.step(flaky('a', 2), { retry }),
          b: b.step(flaky('b', 1), { retry }),
          c: b.step(flaky('c', 0)),
        }))
        .returns(({ results }) => Object.values(results).sort())
      const engine = await engineFor([order])

      expect(await (await engine.start(order, null)).result()).toEqual(['a', 'b', 'c'])
      expect(attempts.sort()).toEqual(['a', 'a', 'a', 'b', 'b', 'c'])
    })

    it('may wait for events and for other sagas', async () => {
      const paid = eventType<number>('paid')
      const small = saga<number>(unique())
        .sleep('pause', 30)
        .returns(({ input }) => input * 2)
      const order = saga<string>(unique())
        .parallel((b) => ({
          payment: b.waitFor(paid, { key: ({ input }) => input }),
          late: b.waitFor(paid, { key: () => 'never', timeout: 50, onTimeout: 'continue' }),
          double: b.child(small, () => 21),
          step: b.step(() => new Promise<string>((resolve) => setTimeout(() => resolve('slow'), 60))),
        }))
        .returns(({ results }) => results)
      const engine = await engineFor([order])
      const handle = await engine.start(order, order.name)
      await vi.waitFor(async () => expect((await engine.history(handle.id)).length).toBeGreaterThanOrEqual(3))

      await engine.send(paid, order.name, 7)

      expect(await handle.result()).toEqual({ payment: 7, double: 42, step: 'slow' })
    })

    it('that are cancelled are told, waited for and undone', async () => {
      const undone: string[] = []
      const inside = gate()
      const paid = eventType<number>('paid')
      const order = saga<string>(unique())
        .parallel((b) => ({
          a: b.step(() => 'a', { compensate: () => void undone.push('a') }),
          b: b.step(
            ({ signal }) => {
              inside.open()
              return new Promise<string>((resolve) => signal.addEventListener('abort', () => resolve('late')))
            },
            { compensate: ({ outcome }) => void undone.push(outcome.known ? outcome.result : 'b?') },
          ),
          c: b.waitFor(paid, { key: () => 'never' }),
        }))
        .returns(() => null)
      const engine = await engineFor([order])
      const { id } = await engine.start(order, order.name)
      await inside.promise
      await vi.waitFor(async () => expect(await engine.history(id)).toHaveLength(2))

      expect(await engine.cancel(id, { reason: 'r' })).toBe('compensating')

      expect((await engine.settled(id)).status).toBe('cancelled')
      expect(undone).toEqual(['late', 'a'])
    })

    it('after the pivot are stuck together, and go on together', async () => {
      let broken = true
      const ran: string[] = []
      const order = saga<null>(unique())
        .pivot('pay', () => 1)
        .parallel((b) => ({
          a: b.step(() => {
            ran.push('a')
            return 'a'
          }),
          b: b.step(
            () => {
              if (broken) throw new Error('no')
              return 'b'
            },
            { retry: once },
          ),
        }))
        .returns(({ results }) => results.a + results.b)
      const engine = await engineFor([order])
      const handle = await engine.start(order, null)
      const { step, rev, status } = await engine.settled(handle.id)
      expect([status, step]).toEqual(['stuck', 'b'])

      broken = false
      await engine.resume(handle.id, { step: 'b', by: 'ann', reason: 'repaired', rev, do: 'retry' })

      expect(await handle.result()).toBe('ab')
      expect(ran).toEqual(['a'])
    })

    it('that a dying process may have begun are undone', async () => {
      const [undone, inside] = [[] as string[], gate()]
      let alive = true
      const hang = (name: string, last: boolean) => () => {
        if (last) inside.open()
        if (alive) return new Promise<never>(() => undefined)
        throw new StepRejectedError(`${name} says no`)
      }
      const order = saga<null>(unique())
        .parallel((b) => ({
          a: b.step(hang('a', false), { compensate: () => void undone.push('a') }),
          b: b.step(hang('b', true), { compensate: () => void undone.push('b') }),
        }))
        .returns(() => null)
      const doomed = mortal(store)
      const first = createSagaEngine({ store: doomed.store, sagas: [order], lease: { ttl: 150 } })
      await first.run()
      const { id } = await first.start(order, null)
      await inside.promise
      doomed.kill()
      alive = false

      const second = await engineFor([order])

      expect((await second.settled(id)).status).toBe('compensated')
      expect(undone).toEqual(['b', 'a'])
    })
  })

  describe('a child', () => {
    const smallFor = (undone: string[], fail: boolean, pivot = false) => {
      const begun = saga<number>(unique()).step('x', ({ input }) => input + 1, {
        compensate: ({ cause }) => void undone.push(`x: ${(cause as Error).message}`),
      })
      const middle = pivot ? begun.pivot('p', () => 'p') : begun
      return (middle as typeof begun)
        .step('y', ({ results }) => {
          if (fail) throw new StepRejectedError('small says no')
          return results.x + 1
        })
        .returns(({ results }) => results.y)
    }

    it('gives its result, and is unwound when its parent is', async () => {
      const undone: string[] = []
      const small = smallFor(undone, false)
      const order = saga<{ fail: boolean }>(unique())
        .step('a', () => 1, { compensate: () => void undone.push('a') })
        .child('small', small, ({ results }) => results.a)
        .step('b', ({ input }) => {
          if (input.fail) throw new StepRejectedError('big says no')
          return 'b'
        })
        .returns(({ results }) => results.small)
      const engine = await engineFor([order])

      expect(await (await engine.start(order, { fail: false })).result()).toBe(3)
      expect(undone).toEqual([])

      const failing = await engine.start(order, { fail: true })
      await expect(failing.result()).rejects.toMatchObject({ cause: { message: 'big says no' } })
      expect(undone).toEqual(['x: big says no', 'a'])
      const child = (await engine.history(failing.id)).find(({ child }) => child)?.child as string
      expect((await engine.get(child))?.status).toBe('compensated')
    })

    it('that fails fails its step', async () => {
      const undone: string[] = []
      const order = saga<null>(unique())
        .step('a', () => 1, { compensate: () => void undone.push('a') })
        .child('small', smallFor(undone, true), () => 1)
        .returns(() => null)
      const engine = await engineFor([order])

      await expect((await engine.start(order, null)).result()).rejects.toMatchObject({
        cause: { code: 'MSX_SAGA_FAILED', message: expect.stringContaining('small says no') },
      })
      expect(undone).toEqual(['x: small says no', 'a'])
    })

    it('is cancelled with its parent, and waited for', async () => {
      const undone: string[] = []
      const small = saga<null>(unique())
        .step('x', () => 1, { compensate: () => void undone.push('x') })
        .sleep('pause', 60_000)
        .returns(() => null)
      const order = saga<null>(unique())
        .step('a', () => 1, { compensate: () => void undone.push('a') })
        .child('small', small, () => null)
        .returns(() => null)
      const engine = await engineFor([order])
      const { id } = await engine.start(order, null)
      await waiting(engine, id)
      const child = (await engine.history(id)).find(({ child }) => child)?.child as string
      await waiting(engine, child)

      await engine.cancel(id, { reason: 'changed my mind' })

      expect((await engine.settled(id)).status).toBe('cancelled')
      expect((await engine.get(child))?.status).toBe('cancelled')
      expect(undone).toEqual(['x', 'a'])
    })

    it('past its own pivot cannot be taken back: an operator decides', async () => {
      const undone: string[] = []
      const order = saga<null>(unique())
        .step('a', () => 1, { compensate: () => void undone.push('a') })
        .child('small', smallFor(undone, false, true), () => 1)
        .step('b', () => Promise.reject(new StepRejectedError('no')))
        .returns(() => null)
      const engine = await engineFor([order])
      const { id } = await engine.start(order, null)

      const { rev, status, step, error } = await engine.settled(id)
      expect([status, step, error?.message]).toEqual(['stuck', 'small', expect.stringContaining('past its pivot')])
      await engine.resume(id, { step: 'small', by: 'ann', reason: 'refunded', rev, do: 'skip' })

      expect((await engine.settled(id)).status).toBe('compensated')
      expect(undone).toEqual(['a'])
    })
  })

  it('runs one saga per lock, one after the other', async () => {
    const [inside, order] = [{ now: 0, most: 0, seen: [] as number[] }, unique()]
    const define = saga<number>(order)
      .step('a', async ({ input }) => {
        inside.most = Math.max(inside.most, ++inside.now)
        inside.seen.push(input)
        await new Promise((resolve) => setTimeout(resolve, 10))
        inside.now--
      })
      .sleep('pause', 10)
      .returns(() => null)
    const engines = [await engineFor([define]), await engineFor([define])]
    const handles = []
    for (let i = 0; i < 4; i++)
      handles.push(await (engines[i % 2] as SagaEngine).start(define, i, { lock: `${order}/x` }))

    for (const handle of handles) await handle.result()

    expect([inside.most, inside.seen]).toEqual([1, [0, 1, 2, 3]])
  })

  it('runs as many sagas of a definition as it may, on all engines together', async () => {
    const inside = { now: 0, most: 0 }
    const order = saga<null>(unique(), { maxRunning: 2 })
      .step('a', async () => {
        inside.most = Math.max(inside.most, ++inside.now)
        await new Promise((resolve) => setTimeout(resolve, 10))
        inside.now--
      })
      .returns(() => null)
    const engines = [await engineFor([order]), await engineFor([order])]
    const handles = await Promise.all(
      Array.from({ length: 8 }, (_, i) => (engines[i % 2] as SagaEngine).start(order, null)),
    )

    for (const handle of handles) await handle.result()

    expect(inside.most).toBe(2)
  })

  it('prunes what is finished, and no child of a parent that is not', async () => {
    const small = saga<null>(unique()).returns(() => 'small')
    const order = saga<null>(unique())
      .child('small', small, () => null)
      .sleep('pause', 60_000)
      .returns(() => null)
    const engine = await engineFor([order, small])
    const alone = await engine.start(small, null, { key: 'k' })
    await alone.result()
    const parent = await engine.start(order, null)
    const child = await vi.waitFor(async () => {
      const history = await engine.history(parent.id)
      expect(history.some(({ kind }) => kind === 'sleep')).toBe(true)
      return history.find(({ child }) => child)?.child as string
    })

    await engine.prune({ finishedBefore: new Date(Date.now() + 60_000), limit: 1_000 })

    expect(await engine.get(alone.id)).toBeUndefined()
    expect((await engine.get(child))?.status).toBe('completed')
    expect((await engine.start(small, null, { key: 'k' })).created).toBe(true)
    await engine.cancel(parent.id, { reason: 'r' })
    await engine.settled(parent.id)
    expect(await engine.prune({ finishedBefore: new Date(Date.now() + 60_000), limit: 1_000 })).toBeGreaterThan(1)
    expect(await engine.get(child)).toBeUndefined()
  })

  it('does not run a saga in a state that only a newer version knows', async () => {
    const ran = vi.fn()
    const order = saga<null>(unique())
      .step('a', ran)
      .returns(() => null)
    const { name, version, shape } = order
    const id = crypto.randomUUID()
    await store.create({
      ...{ id, name, version, shape, input: 'null', tags: {}, delay: 0 },
      ...{ key: undefined, deadline: undefined, worker: undefined },
      progress: { ...FRESH, status: 'paused' as never },
    })
    const engine = await engineFor([order])

    const { status, error, rev } = await engine.settled(id)
    const message = "its status is 'paused', which only a newer version of @msx/saga knows"
    expect([status, error?.message]).toEqual(['stuck', message])
    expect(ran).not.toHaveBeenCalled()
    await engine.resume(id, { do: 'retry', step: 'a', by: 'ann', reason: 'it is the newest now', rev })

    expect((await engine.settled(id)).status).toBe('completed')
    expect(ran).toHaveBeenCalledOnce()
  })

  it('refuses a result that is too large, and takes the step for one in doubt', async () => {
    const undone = vi.fn()
    const order = saga<null>(unique())
      .step('a', () => 'x'.repeat(200), { compensate: undone })
      .returns(() => null)
    const engine = await engineFor([order], { maxStepBytes: 100 })

    await expect((await engine.start(order, null)).result()).rejects.toThrow('202 characters of JSON, more than 100')
    expect(undone).toHaveBeenCalledOnce()
  })

  it('takes nothing back after a pivot whose result cannot be kept', async () => {
    const undone = vi.fn()
    const order = saga<null>(unique())
      .step('a', () => 'a', { compensate: undone })
      .pivot('pay', () => 'x'.repeat(200))
      .returns(() => null)
    const engine = await engineFor([order], { maxStepBytes: 100 })
    const { id } = await engine.start(order, null)

    const { status, step, error, rev } = await engine.settled(id)
    expect([status, step, error?.message]).toEqual(['stuck', 'pay', expect.stringContaining('more than 100')])
    expect(await engine.cancel(id, { reason: 'r' })).toBe('refused-after-pivot')
    await engine.resume(id, { step: 'pay', by: 'ann', reason: 'it is paid', rev, do: 'complete', result: 'paid' })

    expect((await engine.settled(id)).status).toBe('completed')
    expect(undone).not.toHaveBeenCalled()
  })
})
