import { type Attributes, type Meter, metrics, type Tracer, trace } from '@opentelemetry/api'
import { type Measurable, Measured } from './internal/measured.js'
import { object } from './internal/validate.js'

/** Options of {@link openTelemetry}. Both default to what is registered globally. */
export interface OpenTelemetryOptions {
  /** Makes the metrics. */
  readonly meter?: Meter | undefined
  /** Makes a span for a change of state that happens while no span is active; all else are events of the active span. */
  readonly tracer?: Tracer | undefined
}

/** Where circuits, bulkheads and throttles report to. */
export interface Telemetry {
  /** Reports on this from now on; of a registry, on each circuit it makes. Returns what ends that. */
  add(thing: Measurable): () => void
}

export type { Measurable }

const SCOPE = '@msx/circuit-breaker'

/**
 * Reports to OpenTelemetry. A change of state and a rejection are events of the span that is active in the call that meets
 * them; everything is counted. States and gauges are read when they are asked for, so a circuit at rest costs nothing, and
 * shows `half-open` as soon as a trial may be made.
 *
 * There are no semantic conventions for these yet, so names begin with `msx.`. Attributes are names, outcomes and states,
 * never a message; after a thousand names the others are called `other`.
 *
 * @example
 * const telemetry = openTelemetry()
 * telemetry.add(inventory)
 */
export function openTelemetry(options: OpenTelemetryOptions = {}): Telemetry {
  const { meter = metrics.getMeter(SCOPE), tracer = trace.getTracer(SCOPE) } = object('openTelemetry options', options)

  const calls = meter.createCounter('msx.circuit_breaker.calls', {
    description: 'Calls, by how they ended.',
    unit: '{call}',
  })
  const transitions = meter.createCounter('msx.circuit_breaker.transitions', {
    description: 'Changes of state.',
    unit: '{transition}',
  })
  const durations = meter.createHistogram('msx.circuit_breaker.call.duration', {
    description: 'How long calls took that were let through.',
    unit: 's',
  })
  const rejections = {
    bulkhead: meter.createCounter('msx.bulkhead.rejected', { description: 'Calls turned away.', unit: '{call}' }),
    throttle: meter.createCounter('msx.throttle.rejected', { description: 'Calls rejected.', unit: '{call}' }),
  }

  const measured = new Measured({
    result(name, { verdict, duration }) {
      calls.add(1, { [CIRCUIT]: name, [OUTCOME]: verdict })
      durations.record(duration / 1_000, { [CIRCUIT]: name })
    },
    transition(name, { from, to, reason }) {
      transitions.add(1, { [CIRCUIT]: name, [STATE]: to })

      const title = 'msx.circuit_breaker.transition'
      const attributes = { [CIRCUIT]: name, [FROM]: from, [STATE]: to, [REASON]: reason }
      const span = trace.getActiveSpan()
      if (span === undefined) tracer.startSpan(title, { attributes }).end()
      else span.addEvent(title, attributes)
    },
    reject(kind, name) {
      if (kind === 'circuit_breaker') calls.add(1, { [CIRCUIT]: name, [OUTCOME]: 'rejected' })
      else rejections[kind].add(1, { [`msx.${kind}.name`]: name })
      trace.getActiveSpan()?.addEvent(`msx.${kind}.reject`, { [`msx.${kind}.name`]: name })
    },
  })

  const gauge = (
    name: string,
    description: string,
    unit: string,
    read: () => Iterable<readonly [value: number, attributes: Attributes]>,
  ) => {
    // The SDK goes on reporting what is no longer observed: that is 0 from then on.
    const seen = new Map<string, Attributes>()
    meter.createObservableGauge(name, { description, unit }).addCallback((result) => {
      const gone = new Map(seen)
      for (const [value, attributes] of read()) {
        const key = JSON.stringify(attributes)
        seen.set(key, attributes)
        gone.delete(key)
        result.observe(value, attributes)
      }
      for (const attributes of gone.values()) result.observe(0, attributes)
    })
  }
  const gauges = <T extends { readonly name: string }>(
    kind: string,
    things: ReadonlySet<T>,
    each: Record<string, readonly [description: string, unit: string, read: (thing: T) => number]>,
  ) => {
    for (const [name, [description, unit, read]] of Object.entries(each)) {
      gauge(`msx.${kind}.${name}`, description, unit, () =>
        [...things].map((thing) => [read(thing), { [`msx.${kind}.name`]: measured.label(thing) }]),
      )
    }
  }

  // Only states that some circuit is in, or was: the SDK keeps no more than 2_000 sets of attributes per metric.
  gauge('msx.circuit_breaker.state', 'Circuits in each state; 1 is the state of a circuit.', '{circuit}', () =>
    [...measured.states()]
      .filter(({ circuits }) => circuits > 0)
      .map(({ name, state, circuits }) => [circuits, { [CIRCUIT]: name, [STATE]: state }]),
  )
  gauges('bulkhead', measured.bulkheads, {
    concurrency: ['Calls that may run at once.', '{call}', ({ metrics }) => metrics.concurrency],
    in_flight: ['Calls that run.', '{call}', ({ metrics }) => metrics.inFlight],
    queued: ['Calls that wait for a slot.', '{call}', ({ metrics }) => metrics.queued],
  })
  gauges('throttle', measured.throttles, {
    rejection_rate: ['The share of calls rejected.', '1', ({ metrics }) => metrics.rejectionRate],
  })

  return { add: (thing) => measured.add(thing) }
}

const CIRCUIT = 'msx.circuit_breaker.name'
const OUTCOME = 'msx.circuit_breaker.outcome'
const STATE = 'msx.circuit_breaker.state'
const FROM = 'msx.circuit_breaker.previous_state'
const REASON = 'msx.circuit_breaker.reason'
