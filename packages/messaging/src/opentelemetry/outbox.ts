import { type Attributes, type Meter, type ObservableResult, trace } from '@opentelemetry/api'
import { backlogOf, ROW_KINDS } from '../internal/backlog.js'
import { checkFunction } from '../internal/check.js'
import { errorType } from '../internal/error-type.js'
import type { MeasurableInbox, MeasurableRelay } from '../outbox-events.js'

/** In seconds: from a relay that is woken to one that finds its broker again after a night. */
const BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800, 7_200, 43_200]

const SOURCE = 'msx.messaging.source'
const OUTCOME = 'msx.messaging.outcome'
const STATE = 'msx.messaging.state'
const TYPE = 'messaging.destination.template'
const GROUP = 'messaging.consumer.group.name'

/** The instruments of relays and inboxes. What is returned begins to measure one, and returns what ends that. */
export function createOutboxMeter(meter: Meter): (thing: MeasurableRelay | MeasurableInbox) => () => void {
  const rows = meter.createCounter('msx.messaging.outbox.rows', {
    unit: '{row}',
    description: 'Rows given to the broker, by what followed.',
  })
  const lag = meter.createHistogram('msx.messaging.outbox.lag', {
    unit: 's',
    description: 'From when a row was written to the confirm of the broker.',
    advice: { explicitBucketBoundaries: BUCKETS },
  })
  const interruptions = meter.createCounter('msx.messaging.outbox.interruptions', {
    unit: '{interruption}',
    description: 'Times that broker or database were away.',
  })
  const messages = meter.createCounter('msx.messaging.inbox.messages', {
    unit: '{message}',
    description: 'Messages an inbox has seen.',
  })

  const relays = new Set<MeasurableRelay>()
  const waiting = meter.createObservableGauge('msx.messaging.outbox.waiting', {
    unit: '{row}',
    description: 'Rows in the outbox, by their state.',
  })
  waiting.addCallback((result: ObservableResult) => {
    for (const [source, stats] of backlogOf(relays)) {
      for (const kind of ROW_KINDS) result.observe(stats[kind], { [SOURCE]: source, [STATE]: kind })
    }
  })
  const oldest = meter.createObservableGauge('msx.messaging.outbox.oldest', {
    unit: 's',
    description: 'How long the oldest row that is ready waits.',
  })
  oldest.addCallback((result: ObservableResult) => {
    for (const [source, stats] of backlogOf(relays)) result.observe(stats.lag / 1_000, { [SOURCE]: source })
  })

  function measureRelay(relay: MeasurableRelay): (() => unknown)[] {
    const source = { [SOURCE]: relay.source }
    const known = new Set(relay.eventTypes)
    const count = (type: string, outcome: string): void =>
      rows.add(1, { ...source, [TYPE]: known.has(type) ? type : 'unknown', [OUTCOME]: outcome })

    relays.add(relay)
    return [
      relay.on('published', (row) => {
        count(row.type, 'published')
        lag.record(row.lag / 1_000, source)
      }),
      relay.on('retry', ({ type }) => count(type, 'retry')),
      relay.on('parked', ({ type }) => count(type, 'parked')),
      relay.on('interrupted', ({ error }) => interruptions.add(1, { ...source, 'error.type': errorType(error) })),
      () => relays.delete(relay),
    ]
  }

  function measureInbox(inbox: MeasurableInbox): (() => unknown)[] {
    // Only events of a catalogue come as far as an inbox.
    const count = (group: string, type: string, outcome: string): void => {
      const attributes: Attributes = { [GROUP]: group, [TYPE]: type, [OUTCOME]: outcome }
      messages.add(1, attributes)
    }

    return [
      inbox.on('handled', ({ group, type }) => count(group, type, 'handled')),
      inbox.on('duplicate', ({ group, type }) => {
        count(group, type, 'duplicate')
        // The span of the attempt: an inbox speaks while it has the message.
        trace.getActiveSpan()?.addEvent('msx.messaging.duplicate')
      }),
    ]
  }

  const added = new Map<unknown, () => void>()

  return (thing) => {
    checkFunction('openTelemetry', 'add(thing).on', thing?.on)
    const known = added.get(thing)
    if (known !== undefined) return known

    const stops = 'snapshot' in thing ? measureRelay(thing) : measureInbox(thing)
    const remove = (): void => {
      if (added.get(thing) !== remove) return

      added.delete(thing)
      for (const stop of stops) stop()
    }
    added.set(thing, remove)
    return remove
  }
}
