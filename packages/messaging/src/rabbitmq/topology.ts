import type { Channel, ChannelModel } from 'amqplib'
import { HEADER } from '../internal/envelope.js'
import { partitionQueue, SLOTS } from '../partitions.js'
import type { QueueSpec } from '../transport.js'
import { onChannel } from './channels.js'
import { explain } from './failure.js'
import { type Names, namesOf, type WaitKind } from './names.js'
import type { Settings } from './options.js'

/**
 * After how many deliveries without a settlement a message is a dead letter: it may be what its consumers crash on.
 * High, because up to RabbitMQ 4.2 also an untouched message counts when its consumer goes. 4.x has a default of 20,
 * 3.x none.
 */
const DELIVERY_LIMIT = 100

/** Dead letters are looked at and put back any number of times, and 4.x would throw them away after 20. */
const NO_DELIVERY_LIMIT = 2 ** 31 - 1

/** How long what came out of a wait to a queue that is no more is kept for somebody to look at, in ms: a week. */
const UNCLAIMED_TTL = 7 * 24 * 3_600_000

/** How long a queue that is to go with its consumer is kept for the first one, in ms. */
const UNUSED_EXPIRY = 60_000

/** The broker confirms a dead letter before the original goes. Without reject-publish it would not do so. */
const SAFELY = { 'x-dead-letter-strategy': 'at-least-once', 'x-overflow': 'reject-publish' }

interface Wait {
  readonly kind: WaitKind
  readonly ms: number
}

/**
 * Makes everything be there on the broker, as often as need be.
 *
 *   publish ──────────────▶ [events] ─topic─▶ group ─rejected, expired─▶ group.dlq
 *   publish, later ▶ [events.delay.<ms>] ▶ events.delay.<ms> ─expired─▶ [events.delay] ─▶ [events]
 *   retry ─────────▶ [events.retry.<ms>] ▶ events.retry.<ms> ─expired─▶ [events.retry] ─name─▶ group
 *
 * A wait queue holds on to what it cannot route, and 32 such messages would stop it for everybody. So both ways out lead
 * somewhere in any case: a retry whose queue was deleted into the queue `events.unclaimed`, a delayed publish into
 * `events.nowhere` as well, which keeps nothing.
 */
export class Topology {
  readonly names: Names
  readonly #mode: Settings['topology']
  readonly #queueType: Settings['queueType']
  /** Waits in use, to be made again after each reconnect. */
  readonly #waits = new Map<string, Wait>()
  /** Connections on which the ways out of a wait were seen to. */
  readonly #withWaysOut = new WeakSet<ChannelModel>()
  /** Waits that are being made, by connection and name. */
  readonly #coming = new WeakMap<ChannelModel, Map<string, Promise<void>>>()
  /** Queues that retries find, by connection. */
  readonly #returns = new WeakMap<ChannelModel, Set<string>>()

  constructor({ exchange, topology, queueType }: Settings) {
    this.names = namesOf(exchange)
    this.#mode = topology
    this.#queueType = queueType
  }

  /** Whether what is missing will be there after the next `prepare`. */
  get declares(): boolean {
    return this.#mode === 'declare'
  }

  /** What publishing needs. */
  prepare(model: ChannelModel): Promise<void> {
    return explaining(`use exchange '${this.names.events}'`, model, async (channel) => {
      if (this.#mode === 'verify') await channel.checkExchange(this.names.events)
      if (this.#mode !== 'declare') return

      await this.#assertEvents(channel)
      if (this.#waits.size === 0) return
      this.#withWaysOut.delete(model)
      await this.#assertWaysOut(channel, model)
      for (const wait of this.#waits.values()) await this.#assertWait(channel, wait)
    })
  }

  declare(model: ChannelModel, spec: QueueSpec): Promise<void> {
    return explaining(`declare queue '${spec.name}'`, model, async (channel) => {
      if (spec.temporary === true) return this.#assertTemporary(channel, spec)
      if (this.#mode === 'none') return

      const { name, deadLetterQueue, patterns, partitions, existing } = spec
      if (this.#mode === 'verify') {
        for (const queue of queuesOf(spec)) await channel.checkQueue(queue)
        if (deadLetterQueue !== undefined) await channel.checkQueue(deadLetterQueue)
        return
      }
      if (deadLetterQueue !== undefined) await this.#assertDeadLetters(channel, deadLetterQueue)
      if (partitions !== undefined) return this.#assertPartitions(channel, spec, partitions)
      if (existing === true) await channel.checkQueue(name)
      else await this.#assertGroup(channel, name, deadLetterQueue)
      await this.#assertEvents(channel)
      await this.#assertWaysOut(channel, model)
      await channel.bindQueue(name, this.names.retry, name)
      await this.#bind(channel, name, patterns)
    })
  }

  /** Whether `send` or `publish` may use the wait at once. */
  hasWait(model: ChannelModel | undefined, kind: WaitKind, ms: number, queue?: string): boolean {
    if (this.#mode !== 'declare') return true
    if (model === undefined || !this.#waits.has(this.names.wait(kind, ms))) return false

    return queue === undefined || (this.#returns.get(model)?.has(queue) ?? false)
  }

  /**
   * Makes a wait be there, for retries with the way back to their queue. Rejects with MSX_QUEUE_NOT_FOUND when that is
   * not there.
   */
  async addWait(model: ChannelModel, kind: WaitKind, ms: number, queue?: string): Promise<void> {
    await this.#makeWait(model, { kind, ms })
    if (queue === undefined) return

    const { retry } = this.names
    await explaining(`bind queue '${queue}' to '${retry}'`, model, async (channel) => {
      await channel.bindQueue(queue, retry, queue)
      const returns = this.#returns.get(model) ?? new Set()
      this.#returns.set(model, returns.add(queue))
    })
  }

  /**
   * Once for all who ask meanwhile. The broker has a quorum queue in its books before it has started it: whoever else
   * declares it then is told that it is there, and has refused what they publish to it at once.
   */
  #makeWait(model: ChannelModel, wait: Wait): Promise<void> {
    const coming = this.#coming.get(model) ?? new Map<string, Promise<void>>()
    this.#coming.set(model, coming)
    const name = this.names.wait(wait.kind, wait.ms)
    const known = coming.get(name)
    if (known !== undefined) return known

    const making = explaining(`declare wait queue '${name}'`, model, async (channel) => {
      await this.#assertEvents(channel)
      await this.#assertWaysOut(channel, model)
      await this.#assertWait(channel, wait)
      this.#waits.set(name, wait)
    }).finally(() => coming.delete(name))
    coming.set(name, making)
    return making
  }

  /** Its queue was found missing. */
  forgetWait(kind: WaitKind, ms: number): void {
    this.#waits.delete(this.names.wait(kind, ms))
  }

  async #assertEvents(channel: Channel): Promise<void> {
    await channel.assertExchange(this.names.events, 'topic', { durable: true })
  }

  async #assertWaysOut(channel: Channel, model: ChannelModel): Promise<void> {
    if (this.#withWaysOut.has(model)) return

    const { events, retry, delay, nowhere, unclaimed } = this.names
    await this.#assertEnd(channel, unclaimed, { 'x-queue-type': 'quorum', 'x-message-ttl': UNCLAIMED_TTL })
    await channel.assertExchange(retry, 'direct', { durable: true, alternateExchange: unclaimed })

    await this.#assertEnd(channel, nowhere, { 'x-queue-type': 'classic', 'x-message-ttl': 0 })
    await channel.assertExchange(delay, 'fanout', { durable: true })
    await channel.bindQueue(nowhere, delay, '')
    await channel.bindExchange(events, delay, '')
    this.#withWaysOut.add(model)
  }

  /** An exchange and its only queue. */
  async #assertEnd(channel: Channel, name: string, options: Record<string, unknown>): Promise<void> {
    await channel.assertExchange(name, 'fanout', { durable: true })
    await channel.assertQueue(name, { durable: true, arguments: options })
    await channel.bindQueue(name, name, '')
  }

  /** Quorum whatever the type of the groups: all services share it, and only quorum queues hand over safely. */
  async #assertWait(channel: Channel, { kind, ms }: Wait): Promise<void> {
    const name = this.names.wait(kind, ms)
    await this.#assertEnd(channel, name, {
      'x-queue-type': 'quorum',
      'x-message-ttl': ms,
      'x-dead-letter-exchange': this.names[kind],
      ...SAFELY,
    })
  }

  async #assertDeadLetters(channel: Channel, name: string): Promise<void> {
    const type = this.#queueType
    await channel.assertQueue(name, {
      durable: true,
      arguments: { 'x-queue-type': type, ...(type === 'quorum' && { 'x-delivery-limit': NO_DELIVERY_LIMIT }) },
    })
  }

  /**
   *   [events] ─topic─▶ [group.by-key] ─slot─▶ group.0 … group.<n-1>
   *                          └─no slot─▶ [group.rest.<n>] ─▶ group.0
   *
   * A headers exchange needs no plugin. The number is in the name of its alternate exchange, so that the broker refuses
   * another one: with it, slots would be bound twice.
   */
  async #assertPartitions(channel: Channel, spec: QueueSpec, partitions: number): Promise<void> {
    const { name, deadLetterQueue, patterns } = spec
    const byKey = `${name}.by-key`
    const rest = `${name}.rest.${partitions}`
    await channel.assertExchange(byKey, 'headers', { durable: true, alternateExchange: rest })
    const queues = queuesOf(spec)
    for (const queue of queues) await this.#assertGroup(channel, queue, deadLetterQueue, true)
    await channel.assertExchange(rest, 'fanout', { durable: true })
    await channel.bindQueue(queues[0] as string, rest, '')
    for (let slot = 0; slot < SLOTS; slot += 1) {
      const queue = queues[slot % partitions] as string
      await channel.bindQueue(queue, byKey, '', { 'x-match': 'all', [HEADER.slot]: String(slot) })
    }
    await this.#assertEvents(channel)
    for (const pattern of patterns) await channel.bindExchange(byKey, this.names.events, pattern)
  }

  async #assertGroup(
    channel: Channel,
    name: string,
    deadLetterQueue: string | undefined,
    isPartition = false,
  ): Promise<void> {
    const type = this.#queueType
    const isQuorum = type === 'quorum'
    await channel.assertQueue(name, {
      durable: true,
      arguments: {
        'x-queue-type': type,
        ...(isPartition && { 'x-single-active-consumer': true }),
        ...(isQuorum && { 'x-delivery-limit': DELIVERY_LIMIT }),
        ...(deadLetterQueue !== undefined && {
          'x-dead-letter-exchange': '',
          'x-dead-letter-routing-key': deadLetterQueue,
          ...(isQuorum && SAFELY),
        }),
      },
    })
  }

  async #assertTemporary(channel: Channel, { name, patterns, autoDelete = false }: QueueSpec): Promise<void> {
    await channel.assertQueue(name, {
      durable: false,
      exclusive: true,
      autoDelete,
      arguments: { 'x-queue-type': 'classic', ...(autoDelete && { 'x-expires': UNUSED_EXPIRY }) },
    })
    await this.#bind(channel, name, patterns)
  }

  async #bind(channel: Channel, queue: string, patterns: readonly string[]): Promise<void> {
    for (const pattern of patterns) await channel.bindQueue(queue, this.names.events, pattern)
  }
}

function queuesOf({ name, partitions }: QueueSpec): readonly string[] {
  if (partitions === undefined) return [name]

  return Array.from({ length: partitions }, (_, partition) => partitionQueue(name, partition))
}

async function explaining(
  doing: string,
  model: ChannelModel,
  work: (channel: Channel) => Promise<void>,
): Promise<void> {
  try {
    await onChannel(model, work)
  } catch (error) {
    throw explain(error, doing)
  }
}
