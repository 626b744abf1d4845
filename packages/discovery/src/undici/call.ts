import type { Duplex } from 'node:stream'
import type { RetryBudget } from '@msx/retry'
import type { Dispatcher } from 'undici'
import type { PickOptions } from '../balancer.js'
import { isNoEndpointsError } from '../errors.js'
import type { Lease } from '../lease.js'
import type { Service } from '../service.js'
import { isCallersFault, isFailure, isRepeatable, retryAfterOf } from './judge.js'
import { undici } from './peer.js'
import type { RawHeaders, Receiver } from './receiver.js'

/** What all calls to one service through one dispatcher have in common. */
export interface Route {
  readonly service: Service
  /** How often a call may be tried again when it never left. */
  readonly retries: number
  /** Whether that holds for a request that may have arrived, too, if it can be sent twice. */
  readonly repeats: boolean
  /** Pays for each of them. */
  readonly budget: RetryBudget | undefined
  /** Sends one attempt to the endpoint of the lease and reports to `attempt`. */
  send(lease: Lease, request: Dispatcher.DispatchOptions, attempt: ServiceCall): boolean
}

const NOWHERE: Route = {
  service: undefined as never, // it is never started
  retries: 0,
  repeats: false,
  budget: undefined,
  send: () => false,
}

/**
 * One request from the first pick to its end: the handler that undici's pools talk to, in front of the caller's.
 *
 *   start ──> wait for the source ──> attempt ──> onConnect ──> onHeaders ──> onData ──> onComplete
 *                                        ^            │             │           │
 *                                        └── retry? <── onError <───┴───────────┘
 *
 * Each attempt has a lease of its own, and each lease is ended, whatever happens. The caller's handler hears of the start
 * at once rather than when there is a connection: it can abort a call that still waits for one, and it sees one start
 * however many attempts are made.
 */
export class ServiceCall implements Receiver {
  /** One that is always there, for the same reason as that of TrackedLease. */
  static readonly kept: Receiver = new ServiceCall(NOWHERE, { path: '/', method: 'GET' }, {}, {})

  private readonly route: Route
  private readonly request: Dispatcher.DispatchOptions
  /** What narrows each pick. */
  private readonly pick: PickOptions
  private readonly receiver: Receiver
  private lease: Lease | undefined
  private waiting: AbortController | undefined
  private tried: Set<string> | undefined
  private attempts = 0
  /** Calls off the attempt that is on its connection. */
  private abortAttempt: ((reason: Error) => void) | undefined
  /** Why the caller called it off. */
  private reason: Error | undefined
  /** The request is on the wire, as far as anybody can know. */
  private left = false
  /** The caller's handler has seen the response begin. */
  private answered = false
  private failed = false
  private retryAfter = 0
  private handlerThrew = false
  private ended = false

  constructor(route: Route, request: Dispatcher.DispatchOptions, pick: PickOptions, receiver: Receiver) {
    this.route = route
    this.request = request
    this.pick = pick
    this.receiver = receiver
  }

  /** Returns what undici's `dispatch` returns: false when the caller should await 'drain' before it sends more. */
  start(): boolean {
    this.receiver.onConnect?.((reason) => this.abort(reason))
    if (this.ended) return true

    const { service, budget } = this.route
    budget?.deposit()
    const { version, error } = service.snapshot
    if (version > 0 || error !== undefined) return this.attempt()

    this.waiting = new AbortController()
    service.ready(this.waiting.signal).then(
      () => this.attempt(),
      (failure: Error) => this.end(failure),
    )
    return true
  }

  onConnect(abort: (reason: Error) => void): void {
    // The caller went away while the connection was made. A throw makes undici drop the request and keep the connection.
    if (this.ended) throw this.reason

    this.left = true
    this.abortAttempt = abort
  }

  onResponseStarted(): void {
    this.receiver.onResponseStarted?.()
  }

  onUpgrade(status: number, headers: RawHeaders, socket: Duplex): void {
    const lease = this.lease
    this.ended = true
    lease?.firstByte()
    socket.once('close', () => lease?.done('success'))
    this.receiver.onUpgrade?.(status, headers, socket)
  }

  // A handler that throws makes undici abort the request, which is not the endpoint's failure.

  onHeaders(status: number, headers: RawHeaders, resume: () => void, message: string): boolean | undefined {
    if (status >= 200) {
      this.answered = true
      this.failed = isFailure(status)

      if (this.failed) this.retryAfter = retryAfterOf(undici.util.parseHeaders(headers))
      else this.lease?.firstByte()
    }
    try {
      return this.receiver.onHeaders?.(status, headers, resume, message)
    } catch (error) {
      this.handlerThrew = true
      throw error
    }
  }

  onData(chunk: Buffer): boolean | undefined {
    try {
      return this.receiver.onData?.(chunk)
    } catch (error) {
      this.handlerThrew = true
      throw error
    }
  }

  onComplete(trailers: RawHeaders): void {
    if (this.ended) return

    this.ended = true
    this.lease?.done(this.failed ? 'failure' : 'success', this.retryAfter)
    this.receiver.onComplete?.(trailers)
  }

  onError(error: Error): void {
    if (this.ended) return
    if (this.reason !== undefined || this.handlerThrew || isCallersFault(error, this.request.body)) {
      this.end(error)
      return
    }

    this.lease?.done('failure', this.retryAfter)
    if (this.mayRetry()) this.attempt(error)
    else this.end(error)
  }

  /** Sends the request to the next endpoint; when there is no other, `previous` is what the caller hears. */
  private attempt(previous?: Error): boolean {
    if (this.ended) return true

    this.abortAttempt = undefined
    let lease: Lease
    try {
      lease = this.attempts === 0 ? this.route.service.pick(this.pick) : this.pickAnother()
    } catch (error) {
      this.end(previous !== undefined && isNoEndpointsError(error) ? previous : (error as Error))
      return true
    }

    this.lease = lease
    this.attempts++
    return this.route.send(lease, this.request, this)
  }

  /** Somebody who was not tried yet; when a connection broke and there is nobody else, the same one on a fresh one. */
  private pickAnother(): Lease {
    const { service } = this.route
    this.tried ??= new Set()
    if (this.lease !== undefined) this.tried.add(this.lease.endpoint.id)

    try {
      return service.pick({ ...this.pick, exclude: this.tried })
    } catch (error) {
      if (!this.left || !isNoEndpointsError(error)) throw error
      return service.pick(this.pick)
    }
  }

  private mayRetry(): boolean {
    const { retries, repeats, budget } = this.route
    if (this.attempts > retries || this.answered) return false
    if (this.left && !(repeats && isRepeatable(this.request))) return false

    return budget?.tryWithdraw() ?? true
  }

  private abort(reason: Error = new undici.errors.RequestAbortedError()): void {
    if (this.reason !== undefined) return

    this.reason = reason
    if (this.abortAttempt === undefined) this.end(reason)
    else this.abortAttempt(reason)
  }

  /** The end without a response. A lease that is still out was cut short by the caller. */
  private end(error: Error): void {
    if (this.ended) return

    this.ended = true
    this.lease?.done('cancelled')
    this.waiting?.abort()
    this.receiver.onError?.(error)
  }
}
