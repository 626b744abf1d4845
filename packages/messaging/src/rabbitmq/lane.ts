import { setTimeout as wait } from 'node:timers/promises'
import type { Channel, Message } from 'amqplib'
import type { Delivery } from '../transport.js'
import { closeChannel } from './channels.js'
import type { Names } from './names.js'
import { Settlements } from './settlements.js'
import { fromAmqp } from './wire.js'

/** Settlements of a quorum queue that the broker hands on at once. */
const HELD_BACK = 32

/** In ms: some rounds of a disk writing them down. */
const MOMENT = 100

/**
 * A channel that messages come in on, and the only one they can be settled on: the same number on another channel is
 * another message. What is acknowledged in one turn is told to the broker at its end, together where that can be.
 */
export class Lane {
  readonly channel: Channel
  readonly #queue: string
  readonly #names: Names
  readonly #settlements = new Settlements()
  #isTelling = false
  #settled = 0
  #open = true
  #retired = false
  #closing: Promise<void> | undefined

  constructor(channel: Channel, queue: string, names: Names) {
    this.channel = channel
    this.#queue = queue
    this.#names = names
    channel.once('close', () => {
      this.#open = false
    })
  }

  get isOpen(): boolean {
    return this.#open
  }

  deliver(raw: Message): Delivery {
    this.#settlements.deliver(raw.fields.deliveryTag)

    return new LaneDelivery(raw, this, this.#names)
  }

  ack(tag: number): void {
    if (!this.#open) return

    this.#settlements.done(tag)
    this.#settled += 1
    if (!this.#isTelling) {
      this.#isTelling = true
      process.nextTick(this.#tell)
    }
    this.#closeIfDone()
  }

  nack(tag: number, requeue: boolean): void {
    if (!this.#open) return

    this.#attempt(() => this.channel.nack(withTag(tag), false, requeue))
    this.#settlements.told(tag)
    this.#settled += 1
    this.#closeIfDone()
  }

  /** Nothing new comes. Closes once what came is settled. */
  retire(): void {
    this.#retired = true
    this.#closeIfDone()
  }

  /** Gives back what is not settled. Never rejects. */
  close(): Promise<void> {
    this.#closing ??= this.#settleAndClose()

    return this.#closing
  }

  #closeIfDone(): void {
    if (this.#retired && this.#settlements.held === 0) void this.close()
  }

  readonly #tell = (): void => {
    this.#isTelling = false
    if (!this.#open) return

    const { upTo, singles } = this.#settlements.take()
    this.#attempt(() => {
      if (upTo !== undefined) this.channel.ack(withTag(upTo), true)
      for (const tag of singles) this.channel.ack(withTag(tag))
    })
  }

  #attempt(work: () => void): void {
    try {
      work()
    } catch {
      // The channel is on its way out; its queue gives the messages out again.
    }
  }

  /**
   * The broker holds back settlements of a quorum queue while more than 32 are not written down, and forgets those with
   * the channel (seen on 3.10). It does not say when it is done, so a channel that was busy gets a moment before it closes.
   * What is forgotten all the same is delivered again.
   */
  async #settleAndClose(): Promise<void> {
    if (!this.#open) return

    this.#tell()
    await this.channel.checkQueue(this.#queue).catch(() => {})
    if (this.#settled > HELD_BACK && this.#open) await wait(MOMENT)
    if (this.#open) await closeChannel(this.channel)
  }
}

class LaneDelivery implements Delivery {
  readonly message: Delivery['message']
  readonly redelivered: boolean
  readonly #tag: number
  readonly #lane: Lane
  #settled = false

  constructor(raw: Message, lane: Lane, names: Names) {
    this.message = fromAmqp(raw, names)
    this.redelivered = raw.fields.redelivered
    this.#tag = raw.fields.deliveryTag
    this.#lane = lane
  }

  get gone(): boolean {
    return !this.#settled && !this.#lane.isOpen
  }

  ack(): void {
    if (this.#settles()) this.#lane.ack(this.#tag)
  }

  release(): void {
    if (this.#settles()) this.#lane.nack(this.#tag, true)
  }

  reject(): void {
    if (this.#settles()) this.#lane.nack(this.#tag, false)
  }

  /** Only the first settlement counts. */
  #settles(): boolean {
    const isFirst = !this.#settled
    this.#settled = true

    return isFirst
  }
}

/** All that amqplib wants to know of a message to settle it. */
function withTag(deliveryTag: number): Message {
  return { fields: { deliveryTag } } as Message
}
