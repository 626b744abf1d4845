import type { Health } from '../bus.js'
import type { BusEvents, BusListener } from '../events.js'
import { checkFunction, checkText, refuse } from '../internal/check.js'
import { errorType } from '../internal/error-type.js'
import type { MeasurableInbox, MeasurableRelay } from '../outbox-events.js'
import type { Kit, MetricConfig, PrometheusClient, Value } from './kit.js'
import { BoundedLabels } from './labels.js'
import { inboxMetrics, relayMetrics } from './outbox.js'

/** Options of {@link prometheus}. */
export interface PrometheusOptions<R> {
  /** The client library, as imported. */
  readonly client: PrometheusClient<R>
  /** Where the metrics are registered. */
  readonly registry: R
  /** Put before the name of each metric. Default none. */
  readonly prefix?: string | undefined
}

/** A bus, as far as it has numbers. */
export interface Measurable {
  readonly source: string
  readonly eventTypes: readonly string[]
  on<E extends keyof BusEvents>(event: E, listener: BusListener<E>): () => void
  health(): Health
}

/** The metrics of a process. */
export interface PrometheusMetrics {
  /**
   * Measures this bus, relay or inbox from now on. Returns what ends that; a second `add` of the same returns the same.
   *
   * @throws TypeError for anything else.
   */
  add(thing: Measurable | MeasurableRelay | MeasurableInbox): () => void
}

/** In seconds: from a handler that only looks something up to one that asks a slow service. */
const BUCKETS = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]

const CONNECTION_STATES = ['up', 'degraded', 'down'] as const
const SUBSCRIPTION_STATES = ['idle', 'running', 'paused', 'failed', 'closed'] as const

/**
 * Registers the metrics of event buses, relays of outboxes, and inboxes with a Prometheus client. Labels are names of buses, groups and events of the
 * catalogue, states and error codes: never an id. States and what is under way are read when they are asked for.
 *
 * @throws TypeError for options that are wrong.
 * @example
 * import client from 'prom-client'
 *
 * const metrics = prometheus({ client, registry: client.register })
 * metrics.add(bus)
 * metrics.add(relay)
 */
export function prometheus<R>(options: PrometheusOptions<R>): PrometheusMetrics {
  const { client, registry, prefix = '' } = checkOptions(options)
  const config = (name: string, help: string, ...labelNames: string[]): MetricConfig<R> => ({
    name: `${prefix}${name}`,
    help,
    labelNames,
    registers: [registry],
  })
  const labels = new BoundedLabels()
  const kit: Kit<R> = {
    client,
    labels,
    config,
    gauge(name, help, labelNames, read) {
      const values = new client.Gauge({
        ...config(name, help, ...labelNames),
        collect() {
          values.reset()
          for (const [own, value] of read()) values.set(own, value)
        },
      })
    },
  }
  const startBus = busMetrics(kit)
  const startRelay = relayMetrics(kit)
  const startInbox = inboxMetrics(kit)
  const added = new Map<unknown, () => void>()

  return {
    add(thing) {
      const known = added.get(thing)
      if (known !== undefined) return known

      const stop = start(thing)
      const remove = (): void => {
        if (added.get(thing) !== remove) return

        added.delete(thing)
        stop()
      }
      added.set(thing, remove)
      return remove
    },
  }

  function start(thing: Measurable | MeasurableRelay | MeasurableInbox): () => void {
    if (typeof thing?.on !== 'function') {
      refuse('prometheus', 'add(thing)', thing, 'a bus, the relay of an outbox or an inbox')
    }
    if ('health' in thing) return startBus(thing)

    return 'snapshot' in thing ? startRelay(thing) : startInbox(thing)
  }
}

function busMetrics<R>(kit: Kit<R>): (bus: Measurable) => () => void {
  const { client, labels } = kit
  const config = (name: string, help: string, ...labelNames: string[]): MetricConfig<R> =>
    kit.config(name, help, 'bus', ...labelNames)
  const published = new client.Counter(
    config('messaging_published_total', 'Messages given to the broker, by how that ended.', 'type', 'outcome'),
  )
  const publishFailures = new client.Counter(
    config('messaging_publish_failures_total', 'Messages the broker did not confirm, by why.', 'type', 'code'),
  )
  const publishSeconds = new client.Histogram({
    ...config('messaging_publish_duration_seconds', 'From publish to the confirm of the broker.', 'type'),
    buckets: BUCKETS,
  })
  const handled = new client.Counter(
    config('messaging_handled_total', 'Attempts to handle a message, by what followed.', 'group', 'type', 'outcome'),
  )
  const handleSeconds = new client.Histogram({
    ...config('messaging_handle_duration_seconds', 'How long an attempt took.', 'group', 'type', 'outcome'),
    buckets: BUCKETS,
  })
  const retries = new client.Counter(
    config('messaging_retries_total', 'Attempts that follow a failed one: now, or later.', 'group', 'type', 'when'),
  )
  const deadLetters = new client.Counter(
    config('messaging_dead_letters_total', 'Messages that no attempt could handle.', 'group', 'type', 'code'),
  )
  const losses = new client.Counter(config('messaging_connection_losses_total', 'Times the broker was lost.'))

  const added = new Set<Measurable>()
  const gauge = (name: string, help: string, labelNames: string[], read: (bus: Measurable) => Iterable<Value>) =>
    kit.gauge(name, help, ['bus', ...labelNames], function* () {
      for (const bus of added) {
        for (const [own, value] of read(bus)) yield [{ bus: labels.of(bus.source), ...own }, value]
      }
    })
  gauge('messaging_publishing', 'Publishes and requests that are not settled.', [], (bus) => [
    [{}, bus.health().publisher.inFlight],
  ])
  gauge('messaging_handling', 'Messages being handled.', ['group'], (bus) =>
    bus.health().subscriptions.map(({ group, running }) => [{ group }, running]),
  )
  gauge('messaging_connection_state', 'The state the connection is in is 1.', ['state'], (bus) =>
    oneOf(CONNECTION_STATES, bus.health().publisher.status),
  )
  gauge('messaging_blocked', '1 while the broker takes nothing.', [], (bus) => [
    [{}, bus.health().publisher.blocked === undefined ? 0 : 1],
  ])
  gauge('messaging_subscription_state', 'The state a subscription is in is 1.', ['group', 'state'], (bus) =>
    bus
      .health()
      .subscriptions.flatMap(({ group, state }) =>
        oneOf(SUBSCRIPTION_STATES, state).map(([own, value]): Value => [{ group, ...own }, value]),
      ),
  )

  return (bus) => {
    const name = labels.of(bus.source)
    const known = new Set(bus.eventTypes)
    /** Foreign publishers may call their messages anything. */
    const typed = (type: string): { bus: string; type: string } => ({
      bus: name,
      type: known.has(type) ? type : 'other',
    })
    const ended = (group: string, type: string, outcome: string, duration: number): void => {
      const own = { ...typed(type), group, outcome }
      handled.inc(own)
      handleSeconds.observe(own, duration / 1_000)
    }

    added.add(bus)
    const stops = [
      () => added.delete(bus),
      bus.on('published', ({ type, duration }) => {
        published.inc({ ...typed(type), outcome: 'confirmed' })
        publishSeconds.observe(typed(type), duration / 1_000)
      }),
      bus.on('publishFailed', ({ type, error }) => {
        published.inc({ ...typed(type), outcome: 'failed' })
        publishFailures.inc({ ...typed(type), code: labels.of(errorType(error)) })
      }),
      bus.on('handled', ({ group, type, duration }) => ended(group, type, 'success', duration)),
      bus.on('retry', ({ group, type, duration, delay }) => {
        ended(group, type, 'retry', duration)
        retries.inc({ ...typed(type), group, when: delay === 0 ? 'now' : 'later' })
      }),
      bus.on('deadLetter', ({ group, type, duration, code }) => {
        ended(group, type, 'deadLetter', duration)
        deadLetters.inc({ ...typed(type), group, code: labels.of(code) })
      }),
      bus.on('connection', ({ state }) => {
        if (state === 'down') losses.inc({ bus: name })
      }),
    ]
    return () => {
      for (const stop of stops) stop()
    }
  }
}

/** Each state with 1 or 0. */
function oneOf(states: readonly string[], is: string): Value[] {
  return states.map((state) => [{ state }, state === is ? 1 : 0])
}

function checkOptions<R>(options: PrometheusOptions<R>): PrometheusOptions<R> {
  const where = 'prometheus'
  if (typeof options !== 'object' || options === null) refuse(where, 'options', options, '{ client, registry }')
  const { client, registry, prefix } = options
  checkFunction(where, 'client.Counter', client?.Counter)
  if (registry === undefined || registry === null) refuse(where, 'registry', registry, 'a registry of the client')
  if (prefix !== undefined && prefix !== '') checkText(where, 'prefix', prefix)

  return options
}
