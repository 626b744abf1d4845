import { setTimeout as wait } from 'node:timers/promises'
import type { Channel, Message } from 'amqplib'
import type { Delivery } from '../transport.js'
import { closeChannel } from './channels.js'
import type { Names } from './names.js'
import { fromAmqp } from './wire.js'

/** Settlements of a quorum queue that the broker hands on at once. */
const HELD_BACK = 32

/** In ms: some rounds of a disk writing them down. */
const MOMENT = 100

/**
 * A channel that messages come in on, and the only one they can be settled on: the same number on another channel is
 * another message.
 */
export class Lane {
  readonly channel: Channel
  readonly #queue: string
  readonly #names: Names
  #held = 0
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
    this.#held += 1

    return new LaneDelivery(raw, this, this.#names)
  }

  settle(how: (channel: Channel) => void): void {
    if (!this.#open) return

    try {
      how(this.channel)
    } catch {
      // The channel is on its way out; its queue gives the message out again.
    }
    this.#held -= 1
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
    if (this.#retired && this.#held === 0) void this.close()
  }

  /**
   * The broker holds back settlements of a quorum queue while more than 32 are not written down, and forgets those with
   * the channel (seen on 3.10). It does not say when it is done, so a channel that was busy gets a moment before it closes.
   * What is forgotten all the same is delivered again.
   */
  async #settleAndClose(): Promise<void> {
    if (!this.#open) return

    await this.channel.checkQueue(this.#queue).catch(() => {})
    if (this.#settled > HELD_BACK && this.#open) await wait(MOMENT)
    if (this.#open) await closeChannel(this.channel)
  }
}

class LaneDelivery implements Delivery {
  readonly message: Delivery['message']
  readonly redelivered: boolean
  readonly #raw: Message
  readonly #lane: Lane
  #settled = false

  constructor(raw: Message, lane: Lane, names: Names) {
    this.message = fromAmqp(raw, names)
    this.redelivered = raw.fields.redelivered
    this.#raw = raw
    this.#lane = lane
  }

  get gone(): boolean {
    return !this.#settled && !this.#lane.isOpen
  }

  ack(): void {
    this.#settle((channel) => channel.ack(this.#raw))
  }

  release(): void {
    this.#settle((channel) => channel.nack(this.#raw, false, true))
  }

  reject(): void {
    this.#settle((channel) => channel.nack(this.#raw, false, false))
  }

  #settle(how: (channel: Channel) => void): void {
    if (this.#settled) return

    this.#settled = true
    this.#lane.settle(how)
  }
}
