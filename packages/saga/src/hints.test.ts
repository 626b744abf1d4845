import type pg from 'pg'
import { afterAll, expect, onTestFinished, test, vi } from 'vitest'
import { createSagaEngine, memoryStore, type Queryable, saga } from './index.js'
import { postgresStore } from './postgres.js'
import { virtualClock } from './testing/clock.js'
import { postgresDatabase } from './testing/databases.js'

const database = await postgresDatabase()
afterAll(() => database?.close())

const order = saga<null>('order')
  .step('a', () => 'done')
  .returns(({ results }) => results.a)

/** One engine that only starts sagas, and one that runs them, whose clock stands still: it polls when that is moved. */
async function twoEngines(notify: boolean) {
  const { schema } = await (database as NonNullable<typeof database>).store()
  const pool = (database as NonNullable<typeof database>).pool
  const store = () => postgresStore({ pool, schema, notify })
  const clock = virtualClock()
  const starter = createSagaEngine({ store: store(), sagas: [order] })
  const looked = store()
  const claims = vi.spyOn(looked, 'claim')
  const runner = createSagaEngine({ store: looked, sagas: [order], clock })
  await runner.run()
  onTestFinished(async () => {
    await starter.close()
    await runner.close()
  })
  // The first poll is planned for now, and is not to be the one that finds something.
  clock.moveTo(0)
  await Promise.all(claims.mock.results.map(({ value }) => value))
  return { starter, runner, clock, schema }
}

test.skipIf(!database)('a hint has another engine look at once', async () => {
  const { starter } = await twoEngines(true)

  const handle = await starter.start(order, null)

  expect(await handle.result()).toBe('done')
})

test.skipIf(!database)('a hint that is lost costs the time until the next poll, and nothing else', async () => {
  const { starter, clock } = await twoEngines(false)

  const handle = await starter.start(order, null)
  await new Promise((resolve) => setTimeout(resolve, 100))
  expect(await starter.get(handle.id)).toMatchObject({ status: 'running' })

  for (let time = 0; time < 5_000; time += 100) {
    clock.moveTo(time)
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
  expect(await handle.result()).toBe('done')
})

test.skipIf(!database)('many hints are one NOTIFY, and never in the statement that writes', async () => {
  const { pool, store } = database as NonNullable<typeof database>
  const { schema } = await store()
  const asked = vi.spyOn(pool as pg.Pool, 'query')
  onTestFinished(() => asked.mockRestore())
  const engine = createSagaEngine({ store: postgresStore({ pool, schema, notify: true }), sagas: [order] })

  await Promise.all(Array.from({ length: 50 }, () => engine.start(order, null)))
  await engine.close()
  await vi.waitFor(() => expect(textsOf(asked.mock.calls).some((text) => text.includes('pg_notify'))).toBe(true))

  const texts = textsOf(asked.mock.calls)
  expect(texts.filter((text) => text.includes('pg_notify')).length).toBeLessThan(5)
  expect(texts.filter((text) => text.includes('pg_notify') && text.includes('saga'))).toEqual([])
})

test.skipIf(!database)('listens again after its connection was cut', async () => {
  const { starter, runner, schema } = await twoEngines(true)
  const pool = (database as NonNullable<typeof database>).pool
  const errors = vi.fn()
  runner.on('storeError', errors)
  await vi.waitFor(async () => expect(await listeners(pool, schema)).toHaveLength(1))

  await pool.query('SELECT pg_terminate_backend($1)', await listeners(pool, schema))
  const handle = await starter.start(order, null)

  expect(await handle.result()).toBe('done')
})

test('PGlite, whose one connection cannot listen, is refused', () => {
  const pool = { query: async () => ({ rows: [] }), transaction: async () => undefined as never }

  expect(() => postgresStore({ pool, notify: true })).toThrow(/notify needs a pg.Pool/)
})

test('what nobody has the version of is parked, seen, and goes on when somebody has', async () => {
  const clock = virtualClock()
  const store = memoryStore({ clock })
  const second = saga<null>('order', { version: 2 })
    .step('b', () => 'second')
    .returns(({ results }) => results.b)
  const starter = createSagaEngine({ store, sagas: [second], clock })
  const old = createSagaEngine({ store, sagas: [order], clock, onUnknownVersion: 'park' })
  const stuck = vi.fn()
  old.on('sagaStuck', stuck)
  await old.run()
  const handle = await starter.start(second, null)

  const passing = async (until: number): Promise<void> => {
    for (let time = clock.now(); time <= until; time += 500) {
      clock.moveTo(time)
      await new Promise((resolve) => setImmediate(resolve))
    }
  }
  await passing(9_000)
  expect(await old.get(handle.id)).toMatchObject({ status: 'running' })
  await passing(13_000)

  const seen = await old.get(handle.id)
  expect(seen).toMatchObject({ status: 'stuck', version: 2 })
  expect(seen?.error?.message).toContain("no worker takes saga 'order' version 2")
  expect(stuck).toHaveBeenCalledOnce()

  await starter.run()
  await passing(16_000)
  expect(await starter.get(handle.id)).toMatchObject({ status: 'completed', output: 'second' })
  await Promise.all([starter.close({ timeout: 0 }), old.close({ timeout: 0 })])
})

test('an operator may end what is parked, and onUnknownVersion is checked', async () => {
  const clock = virtualClock()
  const store = memoryStore({ clock })
  const second = saga<null>('order', { version: 2 })
    .step('b', () => 'second')
    .returns(() => 0)
  const starter = createSagaEngine({ store, sagas: [second], clock })
  const { id } = await starter.start(second, null)
  await store.park?.({ can: [{ name: 'order', version: 1 }], overdue: 0, limit: 10 })

  const { rev } = (await starter.get(id)) as { rev: number }
  const after = await starter.resume(id, { do: 'abandon', step: 'b', by: 'ops', reason: 'gone for good', rev })

  expect(after.status).toBe('abandoned')
  expect(await store.park?.({ can: [{ name: 'order', version: 1 }], overdue: 0, limit: 10 })).toEqual([])
  const wrong = { store, sagas: [order], onUnknownVersion: 'ignore' as 'leave' }
  expect(() => createSagaEngine(wrong)).toThrow("onUnknownVersion must be 'leave' or 'park', not 'ignore'")
})

test('a step with a long limit ends at it', async () => {
  const slow = saga<null>('slow')
    .step('a', () => new Promise<void>(() => undefined), { timeout: 1_000, retry: { attempts: 1 } })
    .returns(() => 0)
  const engine = createSagaEngine({ store: memoryStore(), sagas: [slow] })
  await engine.run()
  onTestFinished(() => engine.close({ timeout: 0 }))
  const began = performance.now()

  const handle = await engine.start(slow, null)

  await expect(handle.result()).rejects.toMatchObject({ cause: { code: 'MSX_SAGA_STEP_TIMEOUT' } })
  expect(performance.now() - began).toBeGreaterThanOrEqual(999)
})

/** The connections on which engines listen to this schema. */
async function listeners(pool: Queryable, schema: string): Promise<number[]> {
  const { rows } = await pool.query('SELECT pid FROM pg_stat_activity WHERE query = $1', [`LISTEN "${schema}.due"`])
  return (rows as { pid: number }[]).map(({ pid }) => pid)
}

function textsOf(calls: readonly (readonly unknown[])[]): string[] {
  return calls.map(([asked]) => (typeof asked === 'string' ? asked : (asked as { text: string }).text))
}
