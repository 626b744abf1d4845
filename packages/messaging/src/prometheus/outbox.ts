import { backlogOf, ROW_KINDS } from '../internal/backlog.js'
import { errorType } from '../internal/error-type.js'
import type { MeasurableInbox, MeasurableRelay } from '../outbox-events.js'
import type { Kit } from './kit.js'

/** In seconds: from a relay that is woken to one that finds its broker again after a night. */
const BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800, 7_200, 43_200]

/** Registers the metrics of relays. What is returned begins to measure one, and returns what ends that. */
export function relayMetrics<R>({ client, labels, config, gauge }: Kit<R>): (relay: MeasurableRelay) => () => void {
  const rows = new client.Counter(
    config('messaging_outbox_rows_total', 'Rows given to the broker, by what followed.', 'bus', 'type', 'outcome'),
  )
  const lag = new client.Histogram({
    ...config('messaging_outbox_lag_seconds', 'From when a row was written to the confirm of the broker.', 'bus'),
    buckets: BUCKETS,
  })
  const interruptions = new client.Counter(
    config('messaging_outbox_interruptions_total', 'Times that broker or database were away.', 'bus', 'code'),
  )

  const added = new Set<MeasurableRelay>()
  gauge('messaging_outbox_waiting', 'Rows in the outbox, by their state.', ['bus', 'state'], function* () {
    for (const [source, stats] of backlogOf(added)) {
      for (const state of ROW_KINDS) yield [{ bus: labels.of(source), state }, stats[state]]
    }
  })
  gauge('messaging_outbox_oldest_seconds', 'How long the oldest row that is ready waits.', ['bus'], function* () {
    for (const [source, stats] of backlogOf(added)) yield [{ bus: labels.of(source) }, stats.lag / 1_000]
  })

  return (relay) => {
    const bus = labels.of(relay.source)
    const known = new Set(relay.eventTypes)
    const count = (type: string, outcome: string): void =>
      rows.inc({ bus, type: known.has(type) ? type : 'other', outcome })

    added.add(relay)
    const stops = [
      relay.on('published', (row) => {
        count(row.type, 'published')
        lag.observe({ bus }, row.lag / 1_000)
      }),
      relay.on('retry', ({ type }) => count(type, 'retry')),
      relay.on('parked', ({ type }) => count(type, 'parked')),
      relay.on('interrupted', ({ error }) => interruptions.inc({ bus, code: labels.of(errorType(error)) })),
      () => added.delete(relay),
    ]
    return () => {
      for (const stop of stops) stop()
    }
  }
}

/** As {@link relayMetrics}, for inboxes. */
export function inboxMetrics<R>({ client, labels, config }: Kit<R>): (inbox: MeasurableInbox) => () => void {
  const messages = new client.Counter(
    config('messaging_inbox_messages_total', 'Messages an inbox has seen.', 'group', 'type', 'outcome'),
  )

  return (inbox) => {
    // Only events of a catalogue come as far as an inbox.
    const stops = (['handled', 'duplicate'] as const).map((outcome) =>
      inbox.on(outcome, ({ group, type }) => messages.inc({ group, type: labels.of(type), outcome })),
    )
    return () => {
      for (const stop of stops) stop()
    }
  }
}
