import { setTimeout as wait } from 'node:timers/promises'
import { z } from 'zod'
import { type Bus, createBus } from '../bus.js'
import { type Catalogue, defineEvents } from '../catalogue.js'
import { createOutbox, inbox, type Outbox } from '../postgres.js'
import { rabbitmq } from '../rabbitmq.js'
import type { Database } from '../shapes.js'
import { openPool } from '../testing/databases.js'

type LedgerSchemas = { 'ledger.moved': z.ZodObject<{ account: z.ZodString; n: z.ZodNumber }> }

/** The event of the proof: the n-th one of its account. */
export const ledgerEvents: Catalogue<LedgerSchemas> = defineEvents<LedgerSchemas>({
  'ledger.moved': { schema: z.object({ account: z.string(), n: z.number() }), key: ({ account }) => account },
})

export const LEDGER_GROUPS: readonly string[] = ['mails', 'stock', 'totals']

/** What a process of its own is to do. */
export interface OutboxRole {
  readonly role: 'relay' | 'consume'
  readonly database: string
  readonly broker: string
}

export function ledgerOutbox(pool: Database, schema = 'msx_messaging'): Outbox<LedgerSchemas> {
  return createOutbox({ events: ledgerEvents, pool, schema })
}

/** Also what all processes share: the tables of the business, and those of its consumers. */
export async function prepareLedger(pool: Database, schema?: string): Promise<void> {
  await ledgerOutbox(pool, schema).migrate()
  await pool.query('CREATE TABLE movement (account text, n int, PRIMARY KEY (account, n))')
  await pool.query('CREATE TABLE effect (id bigserial PRIMARY KEY, group_name text, account text, n int)')
}

/**
 * Plays its part until it is done or killed.
 *
 * @public by name, in the file that bundleActors makes
 */
export async function act({ role, database, broker }: OutboxRole): Promise<void> {
  const pool = openPool(database, 30)
  const bus = createBus({
    events: ledgerEvents,
    transport: rabbitmq({ url: broker, reconnect: () => 100, confirmTimeout: 120_000 }),
    source: `soak-${role}`,
    use: [inbox({ pool })],
  })
  if (role === 'consume') consume(bus)
  await started(bus)
  console.log('ready')
  if (role === 'relay') ledgerOutbox(pool).relay(bus, { reconnect: () => 100 })
}

function consume(bus: Bus<LedgerSchemas>): void {
  for (const group of LEDGER_GROUPS) {
    bus.subscribe(
      group,
      'ledger.moved',
      async ({ data }, { tx }) => {
        if (tx === undefined) throw new Error('no transaction')
        const values = [group, data.account, data.n]
        await tx.query('INSERT INTO effect (group_name, account, n) VALUES ($1, $2, $3)', values)
      },
      { concurrency: 4, ordered: { partitions: 2, onFailure: 'block' }, retry: { immediate: 0, delays: [100] } },
    )
  }
}

/** Killed and begun again, also while the broker is away. */
async function started(bus: Bus<LedgerSchemas>): Promise<void> {
  for (;;) {
    try {
      await bus.start()
      return
    } catch {
      await wait(100)
    }
  }
}
