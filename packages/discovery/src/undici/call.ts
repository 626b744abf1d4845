import type { IncomingHttpHeaders } from 'node:http'
import type { Duplex } from 'node:stream'
import type { RetryBudget } from '@msx/retry'
import type { Dispatcher } from 'undici'
import type { PickOptions } from '../balancer.js'
import { isNoEndpointsError } from '../errors.js'
import type { Lease } from '../lease.js'
import type { Service } from '../service.js'
import { CallController } from './controller.js'
import { isCallersFault, isFailure, retryAfterOf } from './judge.js'

/** How often a call may be tried again. */
export interface RetryRules {
  readonly max: number
  /** Whether that holds for a request that may have arrived, too: it is idempotent and can be sent twice. */
  readonly repeatable: boolean
  /** Pays for each of them. */
  readonly budget: RetryBudget | undefined
}

/** What a call needs of its dispatcher. */
export interface CallOptions {
  readonly service: Service
  /** What narrows each pick. */
  readonly pick: PickOptions
  readonly handler: Dispatcher.DispatchHandler
  readonly retries: RetryRules
  readonly body: Dispatcher.DispatchOptions['body'] | undefined
  /** Sends one attempt to the endpoint of the lease and reports to `attempt`. */
  send(lease: Lease, attempt: ServiceCall): boolean
}

/**
 * One request from the first pick to its end: the handler that undici's pools talk to, in front of the caller's.
 *
 *   start ──> wait for the source ──> attempt ──> onRequestStart ──> onResponseStart ──> onResponseData ──> onResponseEnd
 *                                        ^              │                   │                  │
 *                                        └── retry? <── onResponseError <───┴──────────────────┘
 *
 * Each attempt has a lease of its own, and each lease is ended, whatever happens. The caller's handler hears of the start
 * at once rather than when there is a connection: it can abort a call that still waits for one, and it sees one start and
 * one controller however many attempts are made.
 */
export class ServiceCall implements Dispatcher.DispatchHandler {
  readonly #options: CallOptions
  readonly #handler: Dispatcher.DispatchHandler
  readonly #controller: CallController = new CallController((reason) => this.#end(reason))
  #lease: Lease | undefined
  #waiting: AbortController | undefined
  readonly #tried = new Set<string>()
  #attempts = 0
  /** The request is on the wire, as far as anybody can know. */
  #left = false
  /** The caller's handler has seen the response begin. */
  #answered = false
  #failed = false
  #retryAfter = 0
  #handlerThrew = false
  #ended = false

  constructor(options: CallOptions) {
    this.#options = options
    this.#handler = options.handler
  }

  /** Returns what undici's `dispatch` returns: false when the caller should await 'drain' before it sends more. */
  start(): boolean {
    this.#handler.onRequestStart?.(this.#controller, {})
    if (this.#ended) return true

    const { service, retries } = this.#options
    retries.budget?.deposit()
    if (service.snapshot.version > 0 || service.snapshot.error !== undefined) return this.#attempt()

    this.#waiting = new AbortController()
    service.ready(this.#waiting.signal).then(
      () => this.#attempt(),
      (error: Error) => this.#end(error),
    )
    return true
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    // The caller went away while the connection was made. A throw makes undici drop the request and keep the connection.
    if (this.#ended) throw this.#controller.reason

    this.#left = true
    this.#controller.connect(controller)
  }

  onResponseStarted(): void {
    const handler: { onResponseStarted?(): void } = this.#handler
    handler.onResponseStarted?.()
  }

  onRequestUpgrade(_: unknown, status: number, headers: IncomingHttpHeaders, socket: Duplex): void {
    const lease = this.#lease
    this.#ended = true
    lease?.firstByte()
    socket.once('close', () => lease?.done('success'))
    this.#handler.onRequestUpgrade?.(this.#controller, status, headers, socket)
  }

  onResponseStart(_: unknown, status: number, headers: IncomingHttpHeaders, message?: string): void {
    if (status >= 200) {
      this.#answered = true
      this.#failed = isFailure(status)

      if (this.#failed) this.#retryAfter = retryAfterOf(headers)
      else this.#lease?.firstByte()
    }
    this.#tell(() => this.#handler.onResponseStart?.(this.#controller, status, headers, message))
  }

  onResponseData(_: unknown, chunk: Buffer): void {
    this.#tell(() => this.#handler.onResponseData?.(this.#controller, chunk))
  }

  onResponseEnd(_: unknown, trailers: IncomingHttpHeaders): void {
    if (this.#ended) return

    this.#ended = true
    this.#lease?.done(this.#failed ? 'failure' : 'success', this.#retryAfter)
    this.#handler.onResponseEnd?.(this.#controller, trailers)
  }

  onResponseError(_: unknown, error: Error): void {
    if (this.#ended) return
    if (this.#controller.aborted || this.#handlerThrew || isCallersFault(error, this.#options.body)) {
      this.#end(error)
      return
    }

    this.#lease?.done('failure', this.#retryAfter)
    if (this.#mayRetry()) this.#attempt(error)
    else this.#end(error)
  }

  /** Sends the request to the next endpoint; when there is no other, `previous` is what the caller hears. */
  #attempt(previous?: Error): boolean {
    if (this.#ended) return true

    let lease: Lease
    try {
      lease = this.#pick()
    } catch (error) {
      this.#end(previous !== undefined && isNoEndpointsError(error) ? previous : (error as Error))
      return true
    }

    this.#lease = lease
    this.#attempts++
    this.#tried.add(lease.endpoint.id)
    return this.#options.send(lease, this)
  }

  /** Somebody who was not tried yet; when a connection broke and there is nobody else, the same one on a fresh one. */
  #pick(): Lease {
    const { service, pick } = this.#options
    if (this.#attempts === 0) return service.pick(pick)

    try {
      return service.pick({ ...pick, exclude: this.#tried })
    } catch (error) {
      if (!this.#left || !isNoEndpointsError(error)) throw error
      return service.pick(pick)
    }
  }

  #mayRetry(): boolean {
    const { max, repeatable, budget } = this.#options.retries
    const isAllowed = this.#attempts <= max && !this.#answered && (!this.#left || repeatable)
    return isAllowed && (budget?.tryWithdraw() ?? true)
  }

  /** The end without a response. A lease that is still out was cut short by the caller. */
  #end(error: Error): void {
    if (this.#ended) return

    this.#ended = true
    this.#lease?.done('cancelled')
    this.#waiting?.abort()
    this.#handler.onResponseError?.(this.#controller, error)
  }

  /** A handler that throws makes undici abort the request, which is not the endpoint's failure. */
  #tell(report: () => void): void {
    try {
      report()
    } catch (error) {
      this.#handlerThrew = true
      throw error
    }
  }
}
