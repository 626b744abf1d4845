import { setTimeout as wait } from 'node:timers/promises'
import {
  createSagaEngine,
  type Definition,
  type EventType,
  eventType,
  NonRetryableError,
  StepRejectedError,
  saga,
} from '../index.js'
import { type PostgresStore, postgresStore } from '../postgres.js'
import type { Database } from '../shapes.js'
import type { StepContext } from '../step.js'
import { openPool } from '../testing/databases.js'

/** What a process that is to be killed is told. */
export interface Role {
  /** Where the sagas are. */
  readonly sagas: string
  /** Where the effects of their steps are: a database that the engine knows nothing of. */
  readonly ledger: string
}

export interface Order {
  readonly order: string
  readonly fate: 'ok' | 'declined' | 'fails late'
}

export const paid: EventType<{ readonly order: string }> = eventType<{ readonly order: string }>('paid')

export const LEASE = 1_000
/** An attempt that hangs at a database which is away. Milliseconds. */
const TIMEOUT = 3_000

export const storeOf = (pool: Database): PostgresStore => postgresStore({ pool, schema: 'sagas' })

/** An order: effects in the ledger, a transactional step, a wait, two branches, the pivot, a sleep, and one effect more. */
export function orderOf(ledger: Database): Definition<Order, unknown, string> {
  const retry = { attempts: Infinity, backoff: () => 100 }
  const options = { retry, timeout: TIMEOUT, undoRetry: retry, undoTimeout: TIMEOUT }
  const call = (key: string, what: string): Promise<unknown> =>
    ledger.query('INSERT INTO call (key, what, pid) VALUES ($1, $2, $3)', [key, what, process.pid])

  const apply = async (c: StepContext<Order, unknown>, step: string): Promise<string> => {
    await call(c.key, 'do')
    await ledger.query(
      `INSERT INTO effect (key, order_id, step, state) VALUES ($1, $2, $3, 'applied') ON CONFLICT (key) DO NOTHING`,
      [c.key, c.input.order, step],
    )
    const { rows } = await ledger.query('SELECT state FROM effect WHERE key = $1', [c.key])
    if (rows[0].state !== 'applied') throw new StepRejectedError('it was undone already')
    return step
  }
  const undo = async (key: string, order: string, step: string): Promise<void> => {
    await call(key, 'undo')
    await ledger.query(
      `INSERT INTO effect (key, order_id, step, state) VALUES ($1, $2, $3, 'undone')
       ON CONFLICT (key) DO UPDATE SET state = 'undone'`,
      [key, order, step],
    )
  }
  const undoing = (step: string) => ({
    ...options,
    compensate: ({ forwardKey, input }: { forwardKey: string; input: Order }) => undo(forwardKey, input.order, step),
  })

  return saga<Order>('order')
    .step('reserve', (c) => apply(c, 'reserve'), undoing('reserve'))
    .txStep(
      'book',
      (tx, { input }) => tx.query('INSERT INTO booking VALUES ($1, 1)', [input.order]).then(() => undefined),
      {
        ...options,
        compensate: (tx, { input }) =>
          tx.query('INSERT INTO booking VALUES ($1, -1)', [input.order]).then(() => undefined),
      },
    )
    .waitFor('paid', paid, { key: ({ input }) => input.order })
    .parallel((b) => ({
      pack: b.step((c) => apply(c, 'pack'), undoing('pack')),
      label: b.step(async (c) => {
        const label = await apply(c, 'label')
        if (c.input.fate === 'fails late')
          throw new NonRetryableError('the printer is broken, and something is printed')
        return label
      }, undoing('label')),
    }))
    .pivot(
      'charge',
      async (c) => {
        if (c.input.fate === 'declined') throw new StepRejectedError('the card was declined')
        // What a pivot throws means that it has not happened, so what nobody knows is asked again.
        for (;;) {
          try {
            return await apply(c, 'charge')
          } catch (error) {
            if (c.signal.aborted) throw error
            await wait(100)
          }
        }
      },
      { retry, timeout: TIMEOUT },
    )
    .sleep('rest', 30)
    .step('ship', (c) => apply(c, 'ship'), { timeout: TIMEOUT, retry })
    .returns(({ results }) => results.ship)
}

/**
 * Lives until it is killed.
 *
 * @public by name, in the file that bundleActors makes
 */
export async function act(role: Role): Promise<void> {
  const pool = openPool(role.sagas, 8)
  const ledger = openPool(role.ledger, 8)
  const engine = createSagaEngine({ store: storeOf(pool), sagas: [orderOf(ledger)], lease: { ttl: LEASE } })
  for (;;) {
    try {
      await engine.run()
      break
    } catch {
      await wait(100)
    }
  }
  process.stdout.write('runs\n')
}
