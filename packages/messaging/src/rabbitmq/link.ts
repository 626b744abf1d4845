import type { ChannelModel } from 'amqplib'
import type { Timekeeper } from '../clock.js'
import { MessagingError } from '../errors.js'
import { type Deferred, deferred } from '../internal/deferred.js'
import { within } from '../internal/settle.js'
import { closeModel, hangUp, onChannel, streamOf } from './channels.js'
import { connectionLost } from './failure.js'
import { gatherWrites } from './gather.js'
import { Nap } from './nap.js'
import type { Settings } from './options.js'

export interface LinkParts {
  /** One attempt to connect. */
  readonly open: () => Promise<ChannelModel>
  readonly backoff: Settings['reconnect']
  readonly time: Timekeeper
  /** Told after each change of `state`. */
  readonly onState: (error: unknown) => void
  readonly onBlocked: (blocked: boolean, reason: string | undefined) => void
}

/** A connection that lasted so long, in ms, was a good one: the back-off begins anew. */
const GOOD = 5_000

/** How long the broker may take to say goodbye, in ms. */
const GOODBYE = 1_000

/**
 * One AMQP connection, made again whenever it breaks.
 *
 *   idle ──start──▶ up ◀──▶ down (tries again after each back-off)
 *                    └──close──▶ closed ◀──close──┘
 *
 * Whoever needs it awaits `whenUp`, and comes back when the model it got has broken. amqplib's own `recovery` is not
 * used: it misses what breaks while it sets up.
 */
export class Link {
  readonly #parts: LinkParts
  #state: 'idle' | 'up' | 'down' | 'closed' = 'idle'
  #model: ChannelModel | undefined
  #next: Deferred<ChannelModel> = unobserved()
  #blocked = false
  #retry = 0
  readonly #nap: Nap

  constructor(parts: LinkParts) {
    this.#parts = parts
    this.#nap = new Nap(parts.time)
  }

  get state(): 'idle' | 'up' | 'down' | 'closed' {
    return this.#state
  }

  get blocked(): boolean {
    return this.#blocked
  }

  /** Whether this is the connection of now. */
  has(model: ChannelModel): boolean {
    return this.#model === model
  }

  /** Connects for the first time, with as many attempts as given. Rejects with the last one's error. */
  async start(attempts: number): Promise<void> {
    for (let left = attempts; ; left -= 1) {
      try {
        return await this.#connect()
      } catch (error) {
        if (left <= 1 || this.#state === 'closed') throw error
      }
    }
  }

  /** The connection, at once or when there is one again. Rejects when there is none after `patience` ms, or closed. */
  whenUp(doing: string, patience?: number): Promise<ChannelModel> {
    if (this.#model !== undefined) return Promise.resolve(this.#model)
    if (patience === undefined || this.#state === 'closed') return this.#next.promise

    const onTimeout = (): MessagingError => connectionLost(doing, undefined, { waited: patience })
    return within(this.#next.promise, this.#parts.time, { timeout: patience, onTimeout })
  }

  async close(): Promise<void> {
    if (this.#state === 'closed') return

    this.#state = 'closed'
    this.#nap.end()
    this.#next.reject(closedConnection())
    const model = this.#model
    this.#model = undefined
    if (model !== undefined) await closeModel(model, GOODBYE)
    this.#next = unobserved()
    this.#next.reject(closedConnection())
  }

  async #connect(): Promise<void> {
    const model = await this.#parts.open()
    const stream = streamOf(model)
    if (stream !== undefined) gatherWrites(stream)
    // At once: an error without a listener ends the process.
    let isGone = false
    let cause: unknown
    model.on('error', (error) => {
      cause = error
    })
    model.on('close', (error) => {
      isGone = true
      this.#lost(model, error ?? cause)
    })
    model.on('blocked', (reason) => this.#setBlocked(model, true, reason))
    model.on('unblocked', () => this.#setBlocked(model, false, undefined))

    try {
      // What was said before there was a listener is not said again, so ask.
      await onChannel(model, async () => {})
    } catch (error) {
      hangUp(model)
      throw error
    }
    if (this.#state === 'closed') {
      await closeModel(model, GOODBYE)
      throw closedConnection()
    }
    if (isGone) throw connectionLost('connect', cause)
    this.#up(model)
  }

  #up(model: ChannelModel): void {
    this.#model = model
    this.#blocked = false
    this.#state = 'up'
    const upAt = this.#parts.time.now()
    model.once('close', () => {
      if (this.#parts.time.now() - upAt >= GOOD) this.#retry = 0
    })
    this.#next.resolve(model)
    this.#parts.onState(undefined)
  }

  #lost(model: ChannelModel, error: unknown): void {
    // It may still be saying goodbye; after that, a peer that does not answer holds the socket for ever.
    setTimeout(() => hangUp(model), GOODBYE).unref()
    if (this.#model !== model) return

    this.#model = undefined
    this.#next = unobserved()
    this.#state = 'down'
    if (this.#blocked) this.#parts.onBlocked(false, undefined)
    this.#blocked = false
    this.#parts.onState(error)
    void this.#reconnect()
  }

  async #reconnect(): Promise<void> {
    const { backoff } = this.#parts
    let delay = 0
    while (this.#state === 'down') {
      delay = backoff(this.#retry++, delay, Math.random)
      await this.#nap.sleep(delay)
      if (this.#state !== 'down') return

      try {
        await this.#connect()
      } catch {
        // `health` tells that there is no connection; the next attempt follows.
      }
    }
  }

  #setBlocked(model: ChannelModel, blocked: boolean, reason: string | undefined): void {
    if (this.#model !== model) return

    this.#blocked = blocked
    this.#parts.onBlocked(blocked, reason)
  }
}

export function closedConnection(): MessagingError {
  return new MessagingError('MSX_CLOSED', 'the connection is closed', { retryable: false })
}

/** Rejected at closing, when perhaps nobody waits for it. */
function unobserved(): Deferred<ChannelModel> {
  const next = deferred<ChannelModel>()
  next.promise.catch(() => {})

  return next
}
