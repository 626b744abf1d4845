import type { ChannelModel } from 'amqplib'
import type { Timekeeper } from '../clock.js'
import { MessagingError } from '../errors.js'
import { queueNotFound, unroutable } from '../internal/refusals.js'
import { within } from '../internal/settle.js'
import type {
  ConnectionNotice,
  Consumer,
  ConsumeTerms,
  Delivery,
  PublishTerms,
  QueueSpec,
  TransportConnection,
  TransportHealth,
  WireMessage,
} from '../transport.js'
import { onChannel, unlessClosed } from './channels.js'
import { RabbitmqConsumer } from './consumer.js'
import { connectionLost, explain, isLost } from './failure.js'
import { Lane } from './lane.js'
import { levelFor } from './levels.js'
import { closedConnection, Link } from './link.js'
import type { WaitKind } from './names.js'
import type { Settings } from './options.js'
import { doingOf, type Parcel } from './parcel.js'
import { Publisher } from './publisher.js'
import { Topology } from './topology.js'

export interface ConnectionParts {
  readonly settings: Settings
  readonly time: Timekeeper
  readonly notify: (notice: ConnectionNotice) => void
  /** One attempt to connect, for what `purpose` says. */
  readonly open: (purpose: 'publish' | 'consume') => Promise<ChannelModel>
}

/** How long closing waits for the broker to take in what was settled last, in ms. */
const SETTLE_TIMEOUT = 2_000

/**
 * One bus's line to RabbitMQ: two AMQP connections, since a broker that blocks publishers stops reading what they send,
 * acknowledgements too.
 */
export class RabbitmqConnection implements TransportConnection {
  readonly #settings: Settings
  readonly #notify: ConnectionParts['notify']
  readonly #time: Timekeeper
  readonly #topology: Topology
  readonly #publishLink: Link
  readonly #consumeLink: Link
  readonly #publisher: Publisher
  readonly #consumers = new Set<RabbitmqConsumer>()
  /** What this connection declared, to be declared again when the broker has lost it. */
  readonly #specs = new Map<string, QueueSpec>()
  /** Where single messages are taken from a queue, by its name. */
  readonly #getters = new Map<string, Promise<Lane>>()
  #isUp = false
  #closed: Promise<void> | undefined

  constructor({ settings, time, notify, open }: ConnectionParts) {
    this.#settings = settings
    this.#time = time
    this.#notify = notify
    this.#topology = new Topology(settings)
    const link = (purpose: 'publish' | 'consume'): Link =>
      new Link({
        open: () => open(purpose),
        backoff: settings.reconnect,
        time,
        onState: (error) => this.#changed(error),
        onBlocked: (blocked, reason) => {
          // Consuming is not affected, and would not be told apart.
          if (purpose === 'consume') return
          this.#notify({ event: 'blocked', blocked, reason })
          if (!blocked) this.#publisher.resume()
        },
      })
    this.#publishLink = link('publish')
    this.#consumeLink = link('consume')
    this.#publisher = new Publisher({
      link: this.#publishLink,
      settings,
      time,
      prepare: async (model) => {
        await this.#topology.prepare(model)
        await this.#declareAll(await this.#consumeLink.whenUp('publish'))
      },
    })
  }

  /** Connects, with as many attempts as given for each connection. */
  async start(attempts: number): Promise<void> {
    try {
      await this.#consumeLink.start(attempts)
      await this.#publishLink.start(attempts)
      await this.#publisher.start(await this.#publishLink.whenUp('connect'))
    } catch (error) {
      await this.close()
      throw error
    }
  }

  async declare(spec: QueueSpec): Promise<void> {
    await this.#onConsumeLink(`declare queue '${spec.name}'`, (model) => this.#topology.declare(model, spec))
    const known = this.#specs.get(spec.name)
    this.#specs.set(spec.name, { ...spec, patterns: [...new Set([...(known?.patterns ?? []), ...spec.patterns])] })
  }

  publish(message: WireMessage, { mandatory, delay = 0 }: PublishTerms): Promise<void> {
    const key = message.type
    if (delay === 0) {
      const onReturned = mandatory ? toNoQueue : undefined
      return this.#publisher.publish({ exchange: this.#topology.names.events, key, message, sent: false, onReturned })
    }
    if (message.ttl !== undefined) return Promise.reject(ttlWithDelay(message))

    return this.#publishLater('delay', delay, { key, message, sent: false }, undefined)
  }

  send(
    queue: string,
    message: WireMessage,
    { delay = 0 }: { readonly delay?: number | undefined } = {},
  ): Promise<void> {
    const parcel = { key: queue, message, sent: true }
    if (delay === 0) return this.#publisher.publish({ ...parcel, exchange: '', onReturned: toMissingQueue })

    return this.#publishLater('retry', delay, parcel, queue)
  }

  async consume(
    queue: string,
    { prefetch, single = false }: ConsumeTerms,
    receive: (delivery: Delivery) => void,
  ): Promise<Consumer> {
    const consumer: RabbitmqConsumer = new RabbitmqConsumer({
      link: this.#consumeLink,
      topology: this.#topology,
      backoff: this.#settings.reconnect,
      time: this.#time,
      queue,
      prefetch,
      single,
      receive,
      restore: async (model) => {
        const spec = this.#specs.get(queue) ?? this.#specs.get(queue.replace(/\.\d+$/, ''))
        if (spec !== undefined) await this.#topology.declare(model, spec)
      },
      onDone: () => this.#consumers.delete(consumer),
    })
    await this.#onConsumeLink(`consume queue '${queue}'`, (model) => consumer.attach(model))
    this.#consumers.add(consumer)
    if (this.#specs.get(queue)?.autoDelete !== true) return consumer

    return {
      cancel: () => {
        // The queue goes with it, and is not to be declared again.
        this.#specs.delete(queue)
        return consumer.cancel()
      },
    }
  }

  get(queue: string): Promise<Delivery | undefined> {
    const doing = `get a message of queue '${queue}'`

    return this.#onConsumeLink(doing, async (model) => {
      const lane = await this.#getter(model, queue)
      try {
        const raw = await unlessClosed(lane.channel, doing, lane.channel.get(queue))
        return raw === false ? undefined : lane.deliver(raw)
      } catch (error) {
        throw explain(error, doing)
      }
    })
  }

  depth(queue: string): Promise<number> {
    const doing = `count queue '${queue}'`

    return this.#onConsumeLink(doing, async (model) => {
      try {
        return await onChannel(model, async (channel) => (await channel.checkQueue(queue)).messageCount)
      } catch (error) {
        throw explain(error, doing)
      }
    })
  }

  health(): TransportHealth {
    if (!this.#isConnected()) return 'down'

    const isWhole = this.#publisher.isReady && [...this.#consumers].every(({ isWhole }) => isWhole)
    return isWhole && !this.#publishLink.blocked ? 'up' : 'degraded'
  }

  close(): Promise<void> {
    this.#closed ??= this.#closeAll()

    return this.#closed
  }

  async #closeAll(): Promise<void> {
    this.#publisher.close()
    const consumers = [...this.#consumers].map((consumer) => consumer.close())
    const getters = [...this.#getters.values()].map((getter) => getter.then((lane) => lane.close()))
    const settled = Promise.allSettled([...consumers, ...getters])
    // Whether or not a broker that is silent has heard of it.
    await within(settled, this.#time, { timeout: SETTLE_TIMEOUT, onTimeout: () => undefined }).catch(() => {})
    await Promise.all([this.#publishLink.close(), this.#consumeLink.close()])
  }

  /** First the queues, then what is published to them: the broker may have lost queues, or an exchange its bindings. */
  async #declareAll(model: ChannelModel): Promise<void> {
    for (const spec of this.#specs.values()) {
      // What is refused is the consumer's to deal with, and nothing that others are to wait for.
      await this.#topology.declare(model, spec).catch((error) => {
        if (isLost(error)) throw error
      })
    }
  }

  #isConnected(): boolean {
    return this.#publishLink.state === 'up' && this.#consumeLink.state === 'up'
  }

  /** Tells when the two connections have become one that works, or stopped to be. */
  #changed(error: unknown): void {
    const isUp = this.#isConnected()
    if (isUp === this.#isUp || this.#closed !== undefined) return

    this.#isUp = isUp
    if (isUp) this.#notify({ event: 'connection', state: 'up' })
    else this.#notify({ event: 'connection', state: 'down', error: explain(error, 'stay connected') })
  }

  /** Again on the next connection when one breaks in the middle: everything here may be done twice. */
  async #onConsumeLink<T>(doing: string, work: (model: ChannelModel) => Promise<T>): Promise<T> {
    const deadline = this.#time.now() + this.#settings.confirmTimeout
    for (;;) {
      if (this.#closed !== undefined) throw closedConnection()
      const model = await this.#consumeLink.whenUp(doing, Math.max(0, deadline - this.#time.now()))
      try {
        return await work(model)
      } catch (error) {
        if (!isLost(error) || this.#time.now() >= deadline) throw error
        // Whoever tells of the loss may be earlier than the connection itself.
        if (this.#consumeLink.has(model)) await new Promise((resolve) => setImmediate(resolve))
      }
    }
  }

  async #publishLater(
    kind: WaitKind,
    delay: number,
    parcel: Omit<Parcel, 'exchange' | 'onReturned'>,
    queue: string | undefined,
  ): Promise<void> {
    if (this.#closed !== undefined) throw closedConnection()
    const doing = doingOf(parcel)
    const ms = levelFor(doing, delay)
    const exchange = this.#topology.names.wait(kind, ms)

    await this.#onConsumeLink(doing, async (model) => {
      if (!this.#topology.hasWait(model, kind, ms, queue)) await this.#topology.addWait(model, kind, ms, queue)
    })
    await this.#publisher.publish({
      ...parcel,
      exchange,
      onReturned: () => {
        this.#topology.forgetWait(kind, ms)
        return queueNotFound(exchange)
      },
    })
  }

  /** One channel per queue, so that a queue that is not there closes nobody else's. */
  #getter(model: ChannelModel, queue: string): Promise<Lane> {
    const known = this.#getters.get(queue)
    if (known !== undefined) return known

    const opening = this.#openGetter(model, queue)
    this.#getters.set(queue, opening)
    opening.catch(() => this.#getters.delete(queue))
    return opening
  }

  async #openGetter(model: ChannelModel, queue: string): Promise<Lane> {
    try {
      const channel = await model.createChannel()
      channel.on('error', () => {})
      channel.once('close', () => this.#getters.delete(queue))
      if (!this.#consumeLink.has(model)) throw connectionLost('open a channel', undefined)
      return new Lane(channel, queue, this.#topology.names)
    } catch (error) {
      throw explain(error, `open a channel for queue '${queue}'`)
    }
  }
}

function toNoQueue({ message }: Parcel): MessagingError {
  return unroutable(message)
}

function toMissingQueue({ key }: Parcel): MessagingError {
  return queueNotFound(key)
}

function ttlWithDelay({ type, ttl }: WireMessage): MessagingError {
  const problem = `publish '${type}': a delayed message cannot have a ttl here, since RabbitMQ forgets it with the wait`

  return new MessagingError('MSX_DELAY_UNSUPPORTED', problem, { retryable: false, details: { type, ttl } })
}
