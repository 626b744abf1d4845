import { HttpStatusError, isHttpStatusError } from './errors.js'
import { BodyAborts } from './internal/body-aborts.js'
import { OnceContext } from './internal/context.js'
import { discardBody } from './internal/discard.js'
import { RETRY_ON, type RequestFacts, requestFacts, statuses } from './internal/request-facts.js'
import { functionOption, optionsObject, policyArgument } from './internal/validate.js'
import type { Policy, PolicyContext } from './policy.js'

/** Any `fetch`: the global one, undici's, node-fetch's, or one of a test. */
export type FetchLike = (
  input: never,
  init?: never,
) => Promise<{
  readonly status: number
  readonly headers: { get(name: string): string | null }
  readonly body: unknown
}>

export interface ResilientFetchOptions {
  /** Statuses that count as failures inside the policy. Default 408, 425, 429, 502, 503, 504. */
  readonly retryOn?: readonly number[] | undefined
}

/**
 * A `fetch` whose requests go through `policy`.
 *
 * Inside the policy a response with a `retryOn` status is a rejection ({@link HttpStatusError}): a retry repeats it, after the
 * Retry-After it may carry, and a circuit breaker counts it. Outside, the last response is returned, as `fetch` does.
 *
 * Only what may be sent twice is repeated: a request with an idempotent method or an Idempotency-Key, whose body is no
 * stream. The bodies of responses that are thrown away are read to their end, so that connections are free again.
 *
 * @throws TypeError for options out of range.
 * @example
 * const http = resilientFetch(pipeline(timeout(5_000), retry(), timeout(1_000)))
 * const response = await http('https://api.example.com/orders')
 */
export function resilientFetch(policy: Policy<Response>, options?: ResilientFetchOptions): typeof fetch
export function resilientFetch<F extends FetchLike>(
  policy: Policy<Awaited<ReturnType<F>>>,
  options: ResilientFetchOptions & { readonly fetch: F },
): F
export function resilientFetch(
  policy: Policy<unknown>,
  options: ResilientFetchOptions & { readonly fetch?: unknown } = {},
): unknown {
  policyArgument('resilientFetch: policy', policy)
  optionsObject('resilientFetch', options)
  if (options.fetch !== undefined) functionOption('resilientFetch: fetch', options.fetch)

  const retryOn = statuses('resilientFetch: retryOn', options.retryOn === undefined ? RETRY_ON : options.retryOn)
  const bodies = new BodyAborts()
  return function resilientFetch(input: unknown, init?: RequestInit): Promise<unknown> {
    // The global one is looked up at each call: others may replace it, msw for example.
    const send = (options.fetch ?? globalThis.fetch) as Send

    return new Exchange(policy, send, retryOn, bodies, input, init).run()
  }
}

type Send = (input: unknown, init: RequestInit) => Promise<AnyResponse>

interface AnyResponse {
  readonly status: number
  readonly body: unknown
}

/** One call of the fetch: up to several requests, of which one response is kept. */
class Exchange {
  readonly #policy: Policy<unknown>
  readonly #send: Send
  readonly #retryOn: ReadonlySet<number>
  readonly #bodies: BodyAborts
  readonly #init: RequestInit | undefined
  readonly #request: RequestFacts
  /** Every response so far that is not known to be thrown away, with what aborts its body. */
  readonly #responses = new Map<unknown, AbortController | undefined>()
  #lastFailure: { readonly error: unknown } | undefined
  #settled = false

  constructor(
    policy: Policy<unknown>,
    send: Send,
    retryOn: ReadonlySet<number>,
    bodies: BodyAborts,
    input: unknown,
    init: RequestInit | undefined,
  ) {
    this.#policy = policy
    this.#send = send
    this.#retryOn = retryOn
    this.#bodies = bodies
    this.#init = init
    this.#request = requestFacts(input, init ?? {})
  }

  async run(): Promise<unknown> {
    const { signal, repeatable } = this.#request
    const options = repeatable ? { signal } : new OnceContext({ signal })

    let kept: unknown
    try {
      kept = await this.#policy.execute((context) => this.#attempt(context), options)
    } catch (error) {
      if (!isHttpStatusError(error) || !this.#responses.has(error.response)) throw error

      kept = error.response
    } finally {
      this.#settled = true
      this.#keepOnly(kept)
    }

    return kept
  }

  async #attempt(context: PolicyContext): Promise<AnyResponse> {
    // Our retry knows better; another's would send a second time what must be sent once.
    if (this.#lastFailure !== undefined && !this.#request.repeatable) throw this.#lastFailure.error

    // Another attempt means that the answer to the one before was not good enough.
    if (isHttpStatusError(this.#lastFailure?.error)) this.#throwAway(this.#lastFailure.error.response)

    try {
      return await this.#fetch(context)
    } catch (error) {
      this.#lastFailure = { error }
      throw error
    }
  }

  async #fetch({ signal }: PolicyContext): Promise<AnyResponse> {
    const controller = this.#controllerFor(signal)
    const response = await this.#send(this.#request.input(), { ...this.#init, signal: controller?.signal ?? signal })

    this.#responses.set(response, controller)
    // Nobody waits any more, so nobody will read it.
    if (this.#settled) this.#throwAway(response)
    if (this.#retryOn.has(response.status)) throw new HttpStatusError(response)

    return response
  }

  /** Where the policy's signal is not the caller's own, the body needs one that both can abort. */
  #controllerFor(signal: AbortSignal): AbortController | undefined {
    if (this.#request.signal === undefined || this.#request.signal === signal) return undefined

    const controller = new AbortController()
    if (signal.aborted) controller.abort(signal.reason)
    else signal.addEventListener('abort', () => controller.abort(signal.reason), { once: true })
    return controller
  }

  #keepOnly(kept: unknown): void {
    for (const response of this.#responses.keys()) {
      if (response !== kept) this.#throwAway(response)
    }

    const controller = this.#responses.get(kept)
    const { body } = Object(kept) as { body?: unknown }
    if (controller === undefined || typeof body !== 'object' || body === null) return

    this.#bodies.follow(this.#request.signal!, body, controller)
  }

  #throwAway(response: unknown): void {
    this.#responses.delete(response)
    discardBody(response)
  }
}
