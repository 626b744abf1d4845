import { type Attributes, type Meter, metrics, type Tracer, trace } from '@opentelemetry/api'
import type { Endpoint } from './endpoint.js'
import { type Counts, type Measurable, Measured, type State } from './internal/measured.js'
import { wrongOption } from './internal/options.js'

/**
 * Options of {@link openTelemetry}. Both default to what is registered globally. There is no `propagator`: whoever sends
 * the request writes the trace into it.
 */
export interface OpenTelemetryOptions {
  /** Makes the metrics. */
  readonly meter?: Meter | undefined
  /** Makes a span for an ejection or readmission that happens while no span is active; else it is an event of that one. */
  readonly tracer?: Tracer | undefined
}

/** Where discoveries report to. */
export interface Telemetry {
  /** Reports on this discovery from now on. Returns what ends that; a second `add` of the same one returns the same. */
  add(discovery: Measurable): () => void
}

export type { Measurable }

const SCOPE = '@msx/discovery'

/**
 * Reports to OpenTelemetry. That an endpoint is ejected or readmitted is an event of the span that is active in the request
 * that brings it about, with the endpoint's address; everything is counted by service. All but the rare events is read when
 * it is asked for, so that a pick costs nothing more.
 *
 * There are no semantic conventions for these yet, so names begin with `msx.`. Attributes of metrics are names of services,
 * states and reasons, never an endpoint; after a thousand services the others are called `other`.
 *
 * Throws a TypeError for a wrong option.
 *
 * @example
 * ```ts
 * const discovery = createDiscovery({ source, telemetry: openTelemetry() })
 * ```
 */
export function openTelemetry(options: OpenTelemetryOptions = {}): Telemetry {
  if (typeof options !== 'object' || options === null) throw wrongOption('options', options, 'an object')
  const { meter = metrics.getMeter(SCOPE), tracer = trace.getTracer(SCOPE) } = options

  const counter = (name: string, description: string, unit: string) =>
    meter.createCounter(`msx.discovery.${name}`, { description, unit })
  const ejections = counter('ejections', 'Endpoints left alone for a while.', '{ejection}')
  const readmissions = counter('readmissions', 'Ejected endpoints that answered again.', '{readmission}')
  const errors = counter('source.errors', 'Failures of the source, and unusable entries.', '{error}')

  const happened = (event: string, attributes: Attributes, endpoint: Endpoint) => {
    const where = { 'server.address': endpoint.host, 'server.port': endpoint.port }
    const span = trace.getActiveSpan()
    if (span === undefined) tracer.startSpan(event, { attributes: { ...attributes, ...where } }).end()
    else span.addEvent(event, { ...attributes, ...where })
  }

  const measured = new Measured((discovery, label) => [
    discovery.on('ejected', ({ service, reason, duration, endpoint }) => {
      const attributes = { [SERVICE]: label(service), [REASON]: reason }
      ejections.add(1, attributes)
      happened('msx.discovery.ejected', { ...attributes, [DURATION]: duration / 1_000 }, endpoint)
    }),
    discovery.on('readmitted', ({ service, endpoint }) => {
      readmissions.add(1, { [SERVICE]: label(service) })
      happened('msx.discovery.readmitted', { [SERVICE]: label(service) }, endpoint)
    }),
    discovery.on('error', ({ service }) => errors.add(1, { [SERVICE]: label(service) })),
  ])

  const counts = (name: string, description: string, unit: string, counted: keyof Counts) => {
    meter.createObservableCounter(`msx.discovery.${name}`, { description, unit }).addCallback((result) => {
      for (const [service, total] of measured.counts()) result.observe(total[counted], { [SERVICE]: service })
    })
  }
  counts('picks', 'Endpoints picked.', '{pick}', 'picked')
  counts('failures', 'Requests that failed.', '{request}', 'failed')
  counts('cancellations', 'Requests that their callers called off.', '{request}', 'cancelled')
  counts('refusals', 'Picks when there was no endpoint.', '{pick}', 'refused')

  const states = (
    name: string,
    description: string,
    unit: string,
    read: (state: State) => readonly (readonly [value: number, attributes?: Attributes])[],
  ) => {
    meter.createObservableGauge(`msx.discovery.${name}`, { description, unit }).addCallback((result) => {
      for (const [service, state] of measured.states()) {
        for (const [value, attributes] of read(state)) result.observe(value, { [SERVICE]: service, ...attributes })
      }
    })
  }
  states('endpoints', 'Endpoints, by whether they are picked.', '{endpoint}', ({ active, ejected }) => [
    [active, { [STATE]: 'active' }],
    [ejected, { [STATE]: 'ejected' }],
  ])
  states('in_flight', 'Requests that are not over.', '{request}', ({ inflight }) => [[inflight]])
  states('stale', '1 while the source cannot be asked.', '1', ({ stale }) => [[stale ? 1 : 0]])
  states('snapshot.version', 'The number of the present snapshot.', '1', ({ version }) => [[version]])

  return { add: (discovery) => measured.add(discovery) }
}

const SERVICE = 'msx.discovery.service'
const STATE = 'msx.discovery.state'
const REASON = 'msx.discovery.reason'
const DURATION = 'msx.discovery.duration'
