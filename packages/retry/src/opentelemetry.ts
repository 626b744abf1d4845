import { type Attributes, type Meter, metrics, SpanStatusCode, type Tracer, trace } from '@opentelemetry/api'
import { isHttpStatusError } from './errors.js'
import { type Measurable, Measured } from './internal/measured.js'
import { optionsObject } from './internal/validate.js'
import type { Outcome } from './policy.js'

/**
 * Options of {@link openTelemetry}. Both default to what is registered globally. There is no `propagator`: nothing is sent
 * here, so there is no message to write a context into.
 */
export interface OpenTelemetryOptions {
  /** Makes the metrics. */
  readonly meter?: Meter | undefined
  /** Makes a span for a call that was given up while no span is active; all else are events of the active span. */
  readonly tracer?: Tracer | undefined
}

/** Where retries and hedges report to. */
export interface Telemetry {
  /** Reports on this from now on. Returns what ends that; a second `add` of the same policy returns the same. */
  add(policy: Measurable): () => void
}

export type { Measurable }

const SCOPE = '@msx/retry'

/**
 * Reports to OpenTelemetry. That an attempt is repeated, that there is none left, and that the budget refused one are
 * events of the span that is active in the call, with the `error.type` of the attempt; everything is counted. Balances are
 * read when they are asked for.
 *
 * There are no semantic conventions for these yet, so names begin with `msx.`. Attributes of metrics are names and
 * outcomes, never a message; after a thousand names the others are called `other`.
 *
 * @throws TypeError for options that are wrong.
 * @example
 * const telemetry = openTelemetry()
 * telemetry.add(retry({ name: 'stock' }))
 */
export function openTelemetry(options: OpenTelemetryOptions = {}): Telemetry {
  optionsObject('openTelemetry', options)
  const { meter = metrics.getMeter(SCOPE), tracer = trace.getTracer(SCOPE) } = options

  const attempts = meter.createCounter('msx.retry.attempts', {
    description: 'Attempts, by what came of them.',
    unit: '{attempt}',
  })
  const delays = meter.createHistogram('msx.retry.delay', { description: 'Waits before retries.', unit: 's' })
  const copies = meter.createCounter('msx.hedge.copies', {
    description: 'Further copies, by what came of them.',
    unit: '{copy}',
  })

  /** The end of a call is worth a span of its own where there is none. */
  const gaveUp = (event: string, attributes: Attributes) => {
    const span = trace.getActiveSpan()
    if (span !== undefined) {
      span.addEvent(event, attributes)
      return
    }

    tracer.startSpan(event, { attributes }).setStatus({ code: SpanStatusCode.ERROR }).end()
  }

  const measured = new Measured('openTelemetry', {
    retry: (source, name) => [
      source.on('success', () => attempts.add(1, { [RETRY]: name, [RETRY_OUTCOME]: 'success' })),
      source.on('retry', ({ attempt, delay, outcome }) => {
        attempts.add(1, { [RETRY]: name, [RETRY_OUTCOME]: 'retried' })
        delays.record(delay / 1_000, { [RETRY]: name })
        const attributes = { [RETRY]: name, [ATTEMPT]: attempt, [DELAY]: delay / 1_000, ...errorType(outcome) }
        trace.getActiveSpan()?.addEvent('msx.retry.retry', attributes)
      }),
      source.on('exhausted', ({ attempt, outcome, reason }) => {
        attempts.add(1, { [RETRY]: name, [RETRY_OUTCOME]: 'exhausted' })
        gaveUp('msx.retry.exhausted', {
          [RETRY]: name,
          [ATTEMPT]: attempt,
          [REASON]: reason,
          ...errorType(outcome),
        })
      }),
      source.on('budgetExhausted', ({ attempt, outcome }) => {
        attempts.add(1, { [RETRY]: name, [RETRY_OUTCOME]: 'budgetExhausted' })
        gaveUp('msx.retry.budget_exhausted', { [RETRY]: name, [ATTEMPT]: attempt, ...errorType(outcome) })
      }),
    ],
    hedge: (policy, name) => [
      policy.on('hedge', ({ copy }) => {
        copies.add(1, { [HEDGE]: name, [HEDGE_OUTCOME]: 'started' })
        trace.getActiveSpan()?.addEvent('msx.hedge.hedge', { [HEDGE]: name, [COPY]: copy })
      }),
      policy.on('budgetExhausted', ({ copy }) => {
        copies.add(1, { [HEDGE]: name, [HEDGE_OUTCOME]: 'budgetExhausted' })
        trace.getActiveSpan()?.addEvent('msx.hedge.budget_exhausted', { [HEDGE]: name, [COPY]: copy })
      }),
      policy.on('success', ({ copy }) => {
        if (copy > 1) copies.add(1, { [HEDGE]: name, [HEDGE_OUTCOME]: 'won' })
      }),
    ],
  })
  meter
    .createObservableGauge('msx.retry.budget.balance', {
      description: 'Retries and copies that the budget allows now.',
      unit: '{retry}',
    })
    .addCallback((result) => {
      for (const [name, balance] of measured.balances()) result.observe(balance, { [RETRY]: name })
    })

  return { add: (policy) => measured.add(policy) }
}

const RETRY = 'msx.retry.name'
const RETRY_OUTCOME = 'msx.retry.outcome'
const ATTEMPT = 'msx.retry.attempt'
const DELAY = 'msx.retry.delay'
const REASON = 'msx.retry.reason'
const HEDGE = 'msx.hedge.name'
const HEDGE_OUTCOME = 'msx.hedge.outcome'
const COPY = 'msx.hedge.copy'

/** By the semantic conventions: a status, a code or a class, never a message. A value that was refused is no error. */
function errorType(outcome: Outcome): Attributes {
  if (outcome.ok) return {}

  const { error } = outcome
  if (isHttpStatusError(error)) return { 'error.type': String(error.status) }

  const { code, name } = Object(error) as { code?: unknown; name?: unknown }
  return { 'error.type': [code, name].find(isTypeName) ?? '_OTHER' }
}

/** Some libraries put whole sentences there. */
function isTypeName(value: unknown): value is string {
  return typeof value === 'string' && /^[\w.-]{1,64}$/.test(value)
}
