import { randomUUID } from 'node:crypto'
import { refuse } from './internal/check.js'
import { ByKey, type Fetched, InTurn } from './internal/fetched.js'
import type { Processor } from './internal/processor.js'
import type { SubscriptionSettings } from './subscribe-options.js'
import type { Consumer, Delivery, TransportConnection } from './transport.js'

/** A group's part in a bus: what one process does for it. */
export interface Subscription extends AsyncDisposable {
  readonly group: string
  /**
   * Takes nothing more; what was fetched and not begun goes back to the queue. Running handlers finish. An ephemeral
   * queue goes, and `resume` makes another one.
   */
  pause(): Promise<void>
  resume(): Promise<void>
  /**
   * Pauses for good and waits for the running handlers. The queue stays, and collects messages, unless it is ephemeral.
   * Idempotent.
   */
  close(): Promise<void>
}

export interface SubscriptionHealth {
  readonly group: string
  /** `idle` before the bus is started; `failed` when the broker refused the queue. */
  readonly state: 'idle' | 'running' | 'paused' | 'failed' | 'closed'
  /** Messages being handled. */
  readonly running: number
}

/** A subscription as its bus knows it. */
export interface RunningSubscription extends Subscription {
  readonly settings: SubscriptionSettings
  /** Makes the queue be there and begins to take messages from it. */
  attach(connection: TransportConnection): Promise<void>
  /** Stops waiting for the running handlers; their messages are the queue's again once the connection is closed. */
  abandon(reason: unknown): void
  health(): SubscriptionHealth
}

/**
 * Keeps up to `concurrency` handlers busy out of the `prefetch` messages that the broker hands over. Steps that talk
 * to the broker (attach, pause, resume, close) run one after the other, in the order they were asked for.
 */
export class GroupSubscription implements RunningSubscription {
  readonly settings: SubscriptionSettings
  readonly #processor: Processor
  readonly #onClosed: () => void
  #connection: TransportConnection | undefined
  #consumer: Consumer | undefined
  readonly #fetched: Fetched
  #running = 0
  #paused = false
  #failed = false
  #abandoned = false
  #closed: Promise<void> | undefined
  #attaching: Promise<void> | undefined
  #steps: Promise<unknown> = Promise.resolve()
  #whenIdle: (() => void)[] = []

  constructor(settings: SubscriptionSettings, processor: Processor, onClosed: () => void) {
    this.settings = settings
    this.#processor = processor
    this.#onClosed = onClosed
    this.#fetched = settings.ordered === undefined ? new InTurn() : new ByKey()
  }

  get group(): string {
    return this.settings.group
  }

  /** Makes the queue be there and begins to take messages from it. */
  attach(connection: TransportConnection): Promise<void> {
    this.#attaching ??= this.#attach(connection).finally(() => {
      this.#attaching = undefined
    })

    return this.#attaching
  }

  pause(): Promise<void> {
    this.#paused = true

    return this.#step(() => this.#end())
  }

  resume(): Promise<void> {
    if (this.#closed !== undefined) refuse(`subscription '${this.group}'`, 'resume', 'closed', 'called before close')
    this.#paused = false

    return this.#step(() => this.#consume())
  }

  close(): Promise<void> {
    this.#paused = true
    this.#closed ??= this.#step(async () => {
      await this.#end()
      await this.#idle()
      this.#onClosed()
    })

    return this.#closed
  }

  /** Stops waiting for the running handlers; their messages are the queue's again once the connection is closed. */
  abandon(reason: unknown): void {
    this.#processor.abandon(reason)
    this.#abandoned = true
    this.#tellIfIdle()
  }

  health(): SubscriptionHealth {
    return { group: this.group, state: this.#state(), running: this.#running }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #state(): SubscriptionHealth['state'] {
    if (this.#closed !== undefined) return 'closed'
    if (this.#failed) return 'failed'
    if (this.#paused) return 'paused'
    return this.#consumer === undefined ? 'idle' : 'running'
  }

  #attach(connection: TransportConnection): Promise<void> {
    return this.#step(async () => {
      const isAttached = this.#connection !== undefined && !this.#failed
      if (isAttached || this.#closed !== undefined) return
      try {
        const { queue, declared = queue } = this.settings
        if (declared !== false && queue.autoDelete !== true) await connection.declare(declared)
        this.#connection = connection
        this.#failed = false
        await this.#consume()
      } catch (error) {
        this.#failed = true
        throw error
      }
    })
  }

  async #consume(): Promise<void> {
    if (this.#paused || this.#consumer !== undefined || this.#connection === undefined) return
    this.#processor.waitAgain()

    const { prefetch, ordered } = this.settings
    this.#consumer = await this.#connection.consume(
      await this.#queueToConsume(this.#connection),
      { prefetch, single: ordered !== undefined },
      (delivery) => {
        this.#fetched.push(delivery)
        this.#startHandlers()
      },
    )
  }

  /** An ephemeral queue is another one each time, since the last one may be on its way out still. */
  async #queueToConsume(connection: TransportConnection): Promise<string> {
    const { queue } = this.settings
    if (queue.autoDelete !== true) return queue.name

    const name = `${queue.name}.${randomUUID()}`
    await connection.declare({ ...queue, name })
    return name
  }

  async #end(): Promise<void> {
    if (this.settings.ordered !== undefined) return this.#handBack()

    await this.#consumer?.cancel()
    this.#consumer = undefined
    for (const delivery of this.#fetched.clear()) delivery.release()
  }

  /** Nothing may overtake what runs: only then does the queue get back all the rest, at once. */
  async #handBack(): Promise<void> {
    this.#processor.stopWaiting()
    await this.#idle()
    await this.#consumer?.cancel()
    this.#consumer = undefined
    this.#fetched.clear()
  }

  #startHandlers(): void {
    while (!this.#paused && this.#running < this.settings.concurrency) {
      const delivery = this.#fetched.next()
      if (delivery === undefined) return
      // Fetched over a connection that broke: the queue gives it out again.
      if (delivery.gone === true) {
        this.#fetched.done(delivery)
        continue
      }

      this.#running += 1
      // Deliveries only come through a connection.
      const processing = this.#processor.process(delivery, this.#connection as TransportConnection)
      if (processing === undefined) this.#ended(delivery)
      else void this.#startMoreAfter(processing, delivery)
    }
  }

  async #startMoreAfter(processing: Promise<void>, delivery: Delivery): Promise<void> {
    await processing
    this.#ended(delivery)
    this.#startHandlers()
  }

  #ended(delivery: Delivery): void {
    this.#running -= 1
    this.#fetched.done(delivery)
    this.#tellIfIdle()
  }

  async #idle(): Promise<void> {
    if (this.#isBusy()) await new Promise<void>((resolve) => this.#whenIdle.push(resolve))
  }

  #tellIfIdle(): void {
    if (this.#isBusy()) return

    for (const resolve of this.#whenIdle.splice(0)) resolve()
  }

  #isBusy(): boolean {
    return this.#running > 0 && !this.#abandoned
  }

  #step(work: () => Promise<void>): Promise<void> {
    const done = this.#steps.then(work)
    this.#steps = done.catch(() => {})

    return done
  }
}
