import type { Timekeeper } from '../clock.js'
import { MessagingError } from '../errors.js'
import type { BusEvents } from '../events.js'
import type { RunningSubscription } from '../subscription.js'
import type { ConnectionNotice, Transport, TransportConnection, TransportHealth } from '../transport.js'
import type { Emitter } from './emitter.js'
import { within } from './settle.js'

/** How long closing waits for a broker that is being connected to, in ms. */
const PATIENCE = 1_000

/**
 * A bus's connection: opened once, on first need, and shared. Whoever publishes waits until the queues of the bus's
 * own subscriptions are there, so that nothing published after `subscribe` misses them.
 */
export class Line {
  readonly #transport: Transport
  readonly #name: string
  readonly #subscriptions: ReadonlySet<RunningSubscription>
  readonly #events: Emitter<BusEvents>
  #opening: Promise<TransportConnection> | undefined
  #connection: TransportConnection | undefined
  /** Subscriptions on their way to be attached, by their promise. */
  readonly #attaching = new Set<Promise<void>>()
  #waiting = 0
  #closed = false

  constructor(
    transport: Transport,
    name: string,
    subscriptions: ReadonlySet<RunningSubscription>,
    events: Emitter<BusEvents>,
  ) {
    this.#transport = transport
    this.#name = name
    this.#subscriptions = subscriptions
    this.#events = events
  }

  /** Rejects with the first thing that does not work: the connection, or one subscription's queue. */
  async start(): Promise<void> {
    const connection = await this.#open()
    await Promise.all([...this.#subscriptions].map((subscription) => this.#attach(subscription, connection)))
  }

  /** A subscription made while the bus runs begins at once; if the broker refuses it, `health` and `start` tell. */
  added(subscription: RunningSubscription): void {
    if (this.#connection !== undefined) this.#attach(subscription, this.#connection).catch(() => {})
  }

  /** The connection at once, when there is nothing to wait for and nobody who came earlier is waiting. */
  get readyNow(): TransportConnection | undefined {
    if (this.#closed || this.#attaching.size > 0 || this.#waiting > 0) return undefined

    return this.#connection
  }

  /** The connection once everything is in place. Those who wait go on in the order they came. */
  async ready(): Promise<TransportConnection> {
    this.#waiting += 1
    try {
      const connection = await this.#open()
      while (this.#attaching.size > 0) await Promise.allSettled(this.#attaching)
      return connection
    } finally {
      this.#waiting -= 1
    }
  }

  health(): TransportHealth {
    return this.#connection?.health() ?? 'down'
  }

  /** What is still being opened is closed as soon as it is open, which may be after its caller has stopped waiting. */
  async close(time: Timekeeper): Promise<void> {
    this.#closed = true
    if (this.#connection !== undefined) {
      await this.#connection.close()
      this.#events.emit('connection', { state: 'closed' })
    } else if (this.#opening !== undefined) {
      await within(this.#opening, time, { timeout: PATIENCE, onTimeout: () => undefined }).catch(() => {})
    }
  }

  async #open(): Promise<TransportConnection> {
    if (this.#closed) throw closedError(this.#name)

    const notify = (notice: ConnectionNotice): void => this.#tell(notice)
    this.#opening ??= this.#transport.connect({ name: this.#name, notify }).then(
      async (connection) => {
        if (this.#closed) {
          await connection.close()
          throw closedError(this.#name)
        }
        this.#connection = connection
        this.#events.emit('connection', { state: 'up' })
        for (const subscription of this.#subscriptions) this.added(subscription)
        return connection
      },
      (error) => {
        this.#opening = undefined
        throw error
      },
    )

    return this.#opening
  }

  #tell(notice: ConnectionNotice): void {
    const { event, ...facts } = notice
    if (event === 'connection') this.#events.emit(event, facts as BusEvents['connection'])
    else this.#events.emit(event, facts as BusEvents['blocked'])
  }

  #attach(subscription: RunningSubscription, connection: TransportConnection): Promise<void> {
    const attached = subscription.attach(connection).finally(() => this.#attaching.delete(attached))
    this.#attaching.add(attached)

    return attached
  }
}

export function closedError(name: string): MessagingError {
  return new MessagingError('MSX_CLOSED', `the bus of '${name}' is closed`, { retryable: false })
}
