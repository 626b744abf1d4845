import { type Bus, type BusMiddleware, type Catalogue, createBus, type Schemas } from '@msx/messaging'
import { openTelemetry } from '@msx/messaging/opentelemetry'
import { createOutbox, inbox, type Outbox, type Queryable, type Relay } from '@msx/messaging/postgres'
import { prometheus } from '@msx/messaging/prometheus'
import * as client from 'prom-client'
import { messagingSchema, type Sql } from './database.js'
import type { ServiceDeps } from './service.js'
import { type DeadLetterBox, deadLetterBox } from './watch/dead-letters.js'
import { disturbed, watchBus } from './watch/messages.js'

/** What a service sends to the others and hears from them, with its database on both ends. */
export interface Mail<S extends Schemas> {
  /** Each of its handlers runs in a transaction in which the inbox lets a message in once: {@link transactionOf}. */
  readonly bus: Bus<S>
  /** What is published through it leaves when, and only when, the transaction it was written in has been committed. */
  readonly outbox: Outbox<S>
  migrate(): Promise<void>
  /** Sends what waits in the outbox until it is closed. */
  startRelay(): Relay
  /** Shows the bus, the inbox and the relays that are started from now on to Prometheus. */
  measure(registry: client.Registry): void
  /** What could not be handled of what `group` hears. */
  readonly deadLetters: DeadLetterBox | undefined
}

/** A handler holds a connection while it runs; most of a pool are for the requests. */
const handledAtOnce = 4

/** How a group subscribes whose handlers write to the database. */
export const fewAtOnce = { concurrency: handledAtOnce } as const

/** The bus of a service with its outbox and its inbox. `group`: what it will subscribe as, if it does. */
export function openMail<S extends Schemas>(
  service: string,
  events: Catalogue<S>,
  deps: ServiceDeps,
  group?: string,
): Mail<S> {
  const { database, instruments, transport } = deps
  const terms = { pool: database.pool, schema: messagingSchema(service) }
  const telemetry = openTelemetry({ tracer: instruments.spans.tracer })
  const box = inbox(terms)
  const outbox = createOutbox({ ...terms, events, telemetry })
  const use: BusMiddleware[] = [disturbed(instruments.faults), box]
  const bus = createBus({ events, transport, source: service, use, telemetry })
  watchBus(bus, service, instruments.edges)

  let metrics: ReturnType<typeof prometheus> | undefined

  return {
    bus,
    outbox,
    deadLetters: group === undefined ? undefined : deadLetterBox(bus, group),
    migrate: () => box.migrate(),
    startRelay() {
      const relay = outbox.relay(bus)
      metrics?.add(relay)
      return relay
    },
    measure(registry) {
      metrics = prometheus({ client, registry })
      metrics.add(bus)
      metrics.add(box)
    },
  }
}

/** The transaction that a message is handled in. */
export function transactionOf({ tx }: { readonly tx?: Queryable | undefined }): Pick<Sql, 'query'> {
  if (tx === undefined) throw new Error('the message did not come through an inbox; its bus is made by openMail')

  return tx
}
