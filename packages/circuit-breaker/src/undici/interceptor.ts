import type { Dispatcher } from 'undici'
import { type CircuitBreaker, circuitBreaker } from '../circuit-breaker.js'
import { defaultClassify, type Verdict } from '../classify.js'
import { callback, integer, object, wrong } from '../internal/validate.js'
import type { CircuitBreakerOptions } from '../options.js'
import type { Outcome } from '../policy.js'
import { boundedCircuits, type CircuitRegistry } from '../registry.js'
import { Exchange } from './exchange.js'
import { type ResponseHead, retryAfterOf } from './response-head.js'
import { reject, watch } from './watch.js'

/** Options of {@link circuitBreakerInterceptor}: those of each circuit, and which requests share one. */
export interface CircuitBreakerInterceptorOptions extends Omit<CircuitBreakerOptions, 'initialState'> {
  /** Requests with the same key share a circuit. Default: the origin, scheme, host and port. It names the circuit. */
  readonly key?: ((options: Dispatcher.DispatchOptions) => string) | undefined
  /** The statuses that are failures, default 429, 500, 502, 503 and 504. A `classify` of your own decides instead. */
  readonly statusCodes?: readonly number[] | undefined
  /** Above this many circuits, default 1_000, the one that is missed least is dropped. */
  readonly max?: number | undefined
}

/** An interceptor for `dispatcher.compose()`, and the circuits it keeps. */
export interface CircuitBreakerInterceptor extends Dispatcher.DispatcherComposeInterceptor {
  readonly circuits: CircuitRegistry
}

const DEFAULT_STATUS_CODES: readonly number[] = [429, 500, 502, 503, 504]
const DEFAULT_MAX = 1_000

/**
 * Guards every request of an undici dispatcher with a circuit per origin. A request that is not let through fails with a
 * `CircuitOpenError`.
 *
 * A transport error and a status in `statusCodes` are failures, a Retry-After of the server is honoured. A request that
 * its caller aborted is ignored, and so is one that could not be sent as it was asked for.
 *
 * @example
 * const agent = new Agent().compose(circuitBreakerInterceptor({ trip: { failures: 5 } }))
 * await request('http://inventory/stock/1', { dispatcher: agent })
 *
 * @throws {TypeError} an option is wrong
 */
export function circuitBreakerInterceptor(options: CircuitBreakerInterceptorOptions = {}): CircuitBreakerInterceptor {
  const {
    key = originOf,
    statusCodes,
    max = DEFAULT_MAX,
    ...breaker
  } = object('circuitBreakerInterceptor options', options)
  callback('key', key)
  integer('max', max, 1)
  const failing = failingStatuses(statusCodes)
  const { name, classify = classifyBy(failing), retryAfter = retryAfterOf } = breaker

  const create = (key: string): CircuitBreaker =>
    circuitBreaker({ ...breaker, name: name === undefined ? key : `${name} ${key}`, classify, retryAfter })
  // Made to be thrown away: a wrong option must be refused now, not at the first request.
  create('')
  const circuits = boundedCircuits(create, max, true)

  const interceptor = (dispatch: Dispatcher['dispatch']): Dispatcher['dispatch'] =>
    function circuitBreakerDispatch(options, handler) {
      return guarded(circuits.get(key(options)), new Exchange(options.body, failing), dispatch, options, handler)
    }
  return Object.assign(interceptor, { circuits })
}

/** Dispatches a request if its circuit lets it through. Answers what undici's `dispatch` does: false to wait for a drain. */
function guarded(
  circuit: CircuitBreaker,
  exchange: Exchange,
  dispatch: Dispatcher['dispatch'],
  options: Dispatcher.DispatchOptions,
  handler: Dispatcher.DispatchHandler,
): boolean {
  let called = false
  let accepted = true
  let thrown: { readonly error: unknown } | undefined

  const send = (): Promise<ResponseHead> => {
    called = true
    try {
      accepted = dispatch(options, watch(handler, exchange))
    } catch (error) {
      // undici reports what befalls a request to its handler. What it throws is about the arguments.
      thrown = { error }
      exchange.abort(error)
      exchange.error(error)
    }
    return exchange.result
  }
  circuit.execute(send, exchange).then(undefined, (error: Error) => {
    // Once it was dispatched, the handler hears of everything from the dispatcher itself.
    if (!called) reject(handler, error)
  })

  if (thrown !== undefined) throw thrown.error
  return accepted
}

function originOf({ origin }: Dispatcher.DispatchOptions): string {
  // A Client or a Pool has one origin, and its requests need not say which.
  if (origin === undefined || origin === null) return 'default'
  return typeof origin === 'string' ? origin : origin.origin
}

function classifyBy(failing: ReadonlySet<number>): (outcome: Outcome) => Verdict {
  return (outcome) => {
    if (outcome.ok && failing.has((outcome.value as ResponseHead).statusCode)) return 'failure'
    return defaultClassify(outcome)
  }
}

function failingStatuses(value: readonly number[] = DEFAULT_STATUS_CODES): ReadonlySet<number> {
  if (!Array.isArray(value)) throw wrong('statusCodes', value, 'an array of statuses')
  for (const status of value) integer('statusCodes', status, 100, 599)
  return new Set(value)
}
