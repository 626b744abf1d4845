import type { ChildProcess } from 'node:child_process'
import { setTimeout as wait } from 'node:timers/promises'
import { kill } from '../../../../tooling/kill.js'
import type { OwnPostgres } from '../../../../tooling/own-postgres.js'
import { createSagaEngine, isSagaConflictError, type SagaEngine } from '../index.js'
import type { Database } from '../shapes.js'
import { openPool } from '../testing/databases.js'
import { chanceOf } from './chance.js'
import { LEASE, type Order, orderOf, paid, type Role, storeOf } from './deaths-actors.js'

export type Trouble = 'kill a worker' | 'stop a worker past its lease' | 'end all connections' | 'crash the database'

export interface DeathTerms {
  readonly seed: number
  readonly sagas: number
  /** In this order, again and again if there are more sagas than troubles. */
  readonly troubles: readonly Trouble[]
  /** How long the last saga may take when nothing goes wrong any more. Milliseconds. */
  readonly patience: number
}

export interface DeathReport {
  readonly sagas: number
  /** Sagas that are not finished. */
  readonly stranded: number
  /** Those that are finished and have other effects than they should. */
  readonly wrong: readonly string[]
  readonly completed: number
  readonly unwound: number
  /** How often steps and compensations were called, beyond once. */
  readonly repeated: number
  readonly resumed: number
  readonly troubles: Readonly<Record<string, number>>
  readonly seconds: number
}

const WORKERS = 3
const EFFECTS = ['charge', 'label', 'pack', 'reserve', 'ship']

/**
 * Three processes run sagas while they are killed and stopped, and their database too; then a ledger that the engine knows nothing
 * of is asked whether each saga that was completed has all its effects once, and each that was unwound none.
 */
export async function proveDeaths(
  terms: DeathTerms,
  postgres: OwnPostgres,
  start: (role: Role) => ChildProcess,
  say: (line: string) => void,
): Promise<DeathReport> {
  const began = performance.now()
  const chance = chanceOf(terms.seed)
  const admin = openPool(postgres.url, 2)
  await admin.query('CREATE DATABASE ledger')
  const role: Role = { sagas: postgres.url, ledger: postgres.url.replace(/postgres$/, 'ledger') }
  const [pool, ledger] = [openPool(role.sagas, 10), openPool(role.ledger, 4)]
  await ledger.query('CREATE TABLE effect (key text PRIMARY KEY, order_id text, step text, state text)')
  await ledger.query('CREATE TABLE call (key text, what text, pid int)')
  await pool.query('CREATE TABLE booking (order_id text, times int)')
  const store = storeOf(pool)
  await store.migrate()
  const definition = orderOf(ledger)
  const desk = createSagaEngine({ store, sagas: [definition] })

  const workers = Array.from({ length: WORKERS }, () => start(role))
  const counts: Record<string, number> = {}
  let troubled = true
  const make: Record<Trouble, () => Promise<unknown>> = {
    async 'kill a worker'() {
      const at = chance.int(0, WORKERS - 1)
      await kill(workers[at] as ChildProcess)
      await wait(chance.int(0, 500))
      workers[at] = start(role)
    },
    async 'stop a worker past its lease'() {
      const worker = workers[chance.int(0, WORKERS - 1)] as ChildProcess
      worker.kill('SIGSTOP')
      await wait(LEASE * 1.5 + chance.int(0, 1_000))
      worker.kill('SIGCONT')
    },
    'end all connections': () =>
      admin.query(
        'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname IS NOT NULL',
      ),
    'crash the database': () => postgres.crash(),
  }
  const trouble = (async () => {
    for (let i = 0; troubled || i < terms.troubles.length; i++) {
      const next = terms.troubles[i % terms.troubles.length] as Trouble
      await wait(chance.int(200, 700))
      await make[next]()
      counts[next] = (counts[next] ?? 0) + 1
      say(`${Math.round((performance.now() - began) / 1_000)} s: ${next}`)
    }
  })()

  const cancelled = new Set<string>()
  let begun = 0
  const customer = async (): Promise<void> => {
    while (begun < terms.sagas) {
      const order = `o${begun++}`
      const fate = chance.so(0.75) ? 'ok' : chance.of(['declined', 'fails late'] as const)
      const cancels = chance.so(0.1)
      const { id } = await insist(() =>
        desk.start(definition, { order, fate } satisfies Order, { key: order, tags: { fate } }),
      )
      if (cancels) {
        cancelled.add(order)
        await wait(chance.int(0, 50))
        await insist(() => desk.cancel(id, { reason: 'the customer' }))
      }
      await insist(() => desk.send(paid, order, { order }, { messageId: order }))
    }
  }
  await Promise.all(Array.from({ length: 16 }, customer))
  troubled = false
  await trouble

  const resumed = await drain(desk, pool, performance.now() + terms.patience)
  const report = await judge(pool, ledger, cancelled)
  await Promise.all(workers.map((actor) => kill(actor)))
  await desk.close()
  await Promise.all([pool.end(), ledger.end(), admin.end()])
  return { ...report, resumed, troubles: counts, seconds: Math.round((performance.now() - began) / 1_000) }
}

/** Asks until somebody answers: all that is asked here may be asked twice. */
async function insist<T>(ask: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await ask()
    } catch {
      await wait(100)
    }
  }
}

/** Until nothing is open. A saga whose workers died too often is stuck, and its operator lets it try again. */
async function drain(desk: SagaEngine, pool: Database, until: number): Promise<number> {
  let resumed = 0
  while (performance.now() < until) {
    const { items } = await desk.list({ status: 'stuck' }, { limit: 1_000 })
    for (const { id, rev, step = '' } of items) {
      try {
        await desk.resume(id, { do: 'retry', step, rev, by: 'soak', reason: 'its workers were killed' })
        resumed++
      } catch (error) {
        if (!isSagaConflictError(error)) throw error
      }
    }
    const { rows } = await pool.query('SELECT count(*)::int AS open FROM sagas.saga WHERE finished_at IS NULL')
    if (rows[0].open === 0) break
    await wait(100)
  }
  return resumed
}

async function judge(
  pool: Database,
  ledger: Database,
  cancelled: ReadonlySet<string>,
): Promise<Omit<DeathReport, 'resumed' | 'troubles' | 'seconds'>> {
  const { rows: sagas } = await pool.query(
    `SELECT key, status, tags->>'fate' AS fate, finished_at IS NULL AS open FROM sagas.saga`,
  )
  const { rows: effects } = await ledger.query(
    `SELECT order_id, array_agg(step ORDER BY step) AS steps FROM effect WHERE state = 'applied' GROUP BY order_id`,
  )
  const { rows: bookings } = await pool.query(
    'SELECT order_id, sum(times)::int AS times FROM booking GROUP BY order_id',
  )
  const { rows: repeats } = await ledger.query(
    'SELECT count(*)::int - count(DISTINCT (key, what))::int AS repeated FROM call',
  )
  const applied = new Map(effects.map(({ order_id, steps }) => [order_id, steps as string[]]))
  const booked = new Map(bookings.map(({ order_id, times }) => [order_id, times as number]))

  const wrong: string[] = []
  for (const { key, status, fate, open } of sagas) {
    if (open) continue
    const steps = applied.get(key) ?? []
    const times = booked.get(key) ?? 0
    const right =
      status === 'completed'
        ? fate === 'ok' && steps.join() === EFFECTS.join() && times === 1
        : steps.length === 0 && times === 0 && (status === 'compensated' ? fate !== 'ok' : cancelled.has(key))
    if (!right) wrong.push(`${key} (${fate}) is ${status}, with ${steps} and ${times} bookings`)
  }
  const count = (is: (status: string) => boolean): number => sagas.filter(({ status }) => is(status)).length
  return {
    sagas: sagas.length,
    stranded: sagas.filter(({ open }) => open).length,
    wrong,
    completed: count((status) => status === 'completed'),
    unwound: count((status) => status === 'compensated' || status === 'cancelled'),
    repeated: repeats[0].repeated,
  }
}
