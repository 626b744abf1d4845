import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as wait } from 'node:timers/promises'
import type { OwnBroker } from '../../../../tooling/own-broker.js'
import type { OwnPostgres } from '../../../../tooling/own-postgres.js'
import { rabbitmq } from '../rabbitmq.js'
import type { Queryable } from '../shapes.js'
import { openPool } from '../testing/databases.js'
import { LEDGER_GROUPS, ledgerOutbox, prepareLedger } from './outbox-actors.js'
import { kill } from './processes.js'

export type Trouble =
  | 'kill a relay'
  | 'kill a consumer'
  | 'end all database connections'
  | 'crash the database'
  | 'restart the broker'
  | 'kill the broker'

export interface EffectTerms {
  readonly events: number
  readonly accounts: number
  /** They come at even shares of the work, one after the other. */
  readonly troubles: readonly Trouble[]
  /** The longest time without a new effect, in ms. */
  readonly patience: number
}

export interface EffectReport {
  readonly written: number
  /** Effects that should be there and are not. */
  readonly missing: number
  /** Effects that are there more than once. */
  readonly doubled: number
  /** Effects of an account that came before an earlier one. */
  readonly misordered: number
  /** Rows left in the outbox. */
  readonly left: number
  /** In the dead letters of all groups. */
  readonly deadLetters: number
  readonly troubles: number
  /** Transactions of the writers that had to be repeated. */
  readonly repeated: number
  readonly seconds: number
}

export interface EffectPlace {
  readonly postgres: OwnPostgres
  readonly broker: OwnBroker
  start(role: 'relay' | 'consume'): ChildProcess
}

const WRITERS = 8

/** How many events a transaction writes. */
const PER_TRANSACTION = 5

/** How far writing may be ahead of the effects, in events, so that there is always something of everything under way. */
const AHEAD = 1_000

/**
 * Writes events together with a row each, while relays and consumers are killed and database and broker break down. Each
 * event has to have one effect in each group, in the order of its account.
 */
export async function proveOneEffect(
  terms: EffectTerms,
  { postgres, broker, start }: EffectPlace,
  say: (line: string) => void,
): Promise<EffectReport> {
  const pool = openPool(postgres.url, 12)
  const outbox = ledgerOutbox(pool)
  await prepareLedger(pool)
  const consumers = [start('consume'), start('consume')]
  // Every group has its queues before the first event comes: one that comes later is not owed what came before.
  await Promise.all(consumers.map((consumer) => once(consumer.stdout as NonNullable<typeof consumer.stdout>, 'data')))
  const relays = [start('relay'), start('relay')]
  const startedAt = performance.now()
  const total = terms.events * LEDGER_GROUPS.length
  let written = 0
  let effects = 0
  let repeated = 0
  let isOver = false

  const write = async (account: string, first: number, count: number): Promise<void> => {
    const ns = Array.from({ length: count }, (_, n) => first + n)
    while (!isOver) {
      try {
        await outbox.transaction(async (tx) => {
          const values = [account, ns]
          const { rows } = await tx.query(
            'INSERT INTO movement SELECT $1, unnest($2::int[]) ON CONFLICT DO NOTHING RETURNING n',
            values,
          )
          // It was committed after all, and only the answer was lost.
          if (rows.length === 0) return
          await outbox.publishMany(
            tx,
            ns.map((n) => ({ type: 'ledger.moved', data: { account, n } }) as const),
          )
        })
        return
      } catch {
        repeated += 1
        await wait(50)
      }
    }
  }

  const writer = async (number: number): Promise<void> => {
    const perAccount = terms.events / terms.accounts
    for (let n = 0; n < perAccount; n += PER_TRANSACTION) {
      for (let account = number; account < terms.accounts; account += WRITERS) {
        while (written > effects / LEDGER_GROUPS.length + AHEAD && !isOver) await wait(10)
        if (isOver) return
        const count = Math.min(PER_TRANSACTION, perAccount - n)
        await write(`a-${account}`, n, count)
        written += count
      }
    }
  }

  const make = async (trouble: Trouble, turn: number): Promise<void> => {
    if (trouble === 'kill a relay' || trouble === 'kill a consumer') {
      const [all, role] = trouble === 'kill a relay' ? ([relays, 'relay'] as const) : ([consumers, 'consume'] as const)
      const at = turn % all.length
      await kill(all[at] as ChildProcess)
      all[at] = start(role)
    } else if (trouble === 'end all database connections') {
      await pool.query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()')
    } else if (trouble === 'crash the database') await postgres.crash()
    else await broker.restart(trouble === 'kill the broker' ? 'node' : 'application')
  }

  /** Looks at what there is, makes trouble when its time has come, and ends when all is there or nothing more comes. */
  const watch = async (): Promise<void> => {
    let made = 0
    let movedAt = performance.now()
    for (;;) {
      const before = effects
      effects = await countEffects(pool).catch(() => effects)
      if (effects !== before) movedAt = performance.now()
      const { ready } = await outbox.stats().catch(() => ({ ready: 1 }))
      if (effects >= total && ready === 0 && made === terms.troubles.length) return
      if (performance.now() - movedAt > terms.patience) return

      const trouble = terms.troubles[made]
      if (trouble !== undefined && effects >= (total * (made + 1)) / (terms.troubles.length + 1)) {
        say(`${Math.round((performance.now() - startedAt) / 1_000)} s, ${effects} of ${total} effects: ${trouble}`)
        await make(trouble, made).catch((error) => say(`  ${error}`))
        made += 1
        movedAt = performance.now()
      }
      await wait(100)
    }
  }

  try {
    const writing = Promise.all(Array.from({ length: WRITERS }, (_, number) => writer(number)))
    await Promise.race([watch(), writing.then(() => new Promise<never>(() => {}))])
    const seconds = Math.round((performance.now() - startedAt) / 100) / 10

    await Promise.all([...relays, ...consumers].map((actor) => kill(actor)))
    const deadLetters = await countDeadLetters(broker.url, say)
    return {
      ...(await judgeEffects(pool, { events: terms.events, groups: LEDGER_GROUPS, schema: 'msx_messaging' }, say)),
      deadLetters,
      written,
      troubles: terms.troubles.length,
      repeated,
      seconds,
    }
  } finally {
    isOver = true
    await Promise.all([...relays, ...consumers].map((actor) => kill(actor)))
    await pool.end()
  }
}

type Pool = ReturnType<typeof openPool>

async function countEffects(pool: Pool): Promise<number> {
  return (await pool.query('SELECT count(*)::int AS n FROM effect')).rows[0].n as number
}

async function countDeadLetters(url: string, say: (line: string) => void): Promise<number> {
  const connection = await rabbitmq({ url }).connect({ name: 'soak-judge' })
  let count = 0
  for (const group of LEDGER_GROUPS) {
    for (const partition of [0, 1]) {
      const depth = await connection.depth(`${group}.${partition}`)
      if (depth > 0) say(`  left in ${group}.${partition}: ${depth}`)
    }
    const queue = `${group}.dlq`
    for (let letter = await connection.get(queue); letter !== undefined; letter = await connection.get(queue)) {
      count += 1
      const { headers, body } = letter.message
      say(
        `  dead letter of ${group}: ${Buffer.from(body)} ${headers['msx-error-code']} ${headers['msx-error-message']}`,
      )
    }
  }
  await connection.close()
  return count
}

export interface Verdict {
  readonly missing: number
  readonly doubled: number
  readonly misordered: number
  readonly left: number
}

export interface JudgedTerms {
  /** How many were written, each with a row in `movement`. */
  readonly events: number
  readonly groups: readonly string[]
  /** Of outbox and inbox. */
  readonly schema: string
}

/** Compares what there is with what there has to be. */
export async function judgeEffects(
  pool: Queryable,
  { events, groups, schema }: JudgedTerms,
  say: (line: string) => void,
): Promise<Verdict> {
  const { rows } = await pool.query(
    `SELECT g.name, m.account, m.n, (SELECT count(*) FROM "${schema}".inbox i WHERE i.group_name = g.name) AS handled
     FROM movement m CROSS JOIN unnest($1::text[]) AS g (name)
     WHERE NOT EXISTS (SELECT 1 FROM effect e WHERE e.group_name = g.name AND e.account = m.account AND e.n = m.n) LIMIT 20`,
    [groups],
  )
  for (const row of rows) say(`  missing: ${JSON.stringify(row)}`)
  const one = async (sql: string): Promise<number> => (await pool.query(`SELECT (${sql})::int AS n`)).rows[0].n
  const distinct = await one('SELECT count(*) FROM (SELECT DISTINCT group_name, account, n FROM effect) AS e')

  return {
    missing: events * groups.length - distinct + (events - (await one('SELECT count(*) FROM movement'))),
    doubled: (await one('SELECT count(*) FROM effect')) - distinct,
    misordered: await one(
      `SELECT count(*) FROM (SELECT n, lag(n) OVER (PARTITION BY group_name, account ORDER BY id) AS before FROM effect) AS e
       WHERE n < before`,
    ),
    left: await one(`SELECT count(*) FROM "${schema}".outbox`),
  }
}

export function effectTable(report: EffectReport): string {
  return Object.entries(report)
    .map(([name, value]) => `  ${name.padEnd(12)} ${String(value).padStart(8)}`)
    .join('\n')
}
