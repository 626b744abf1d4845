import type { Channel, Message } from 'amqplib'
import type { Delivery } from '../transport.js'
import { closeChannel } from './channels.js'
import type { Names } from './names.js'
import { fromAmqp } from './wire.js'

/**
 * A channel that messages come in on, and the only one they can be settled on: the same number on another channel is
 * another message.
 */
export class Lane {
  readonly channel: Channel
  readonly #queue: string
  readonly #names: Names
  #held = 0
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

  /** On 3.10 a quorum queue may miss what was settled right before its channel closed. It answers in order, so ask. */
  async #settleAndClose(): Promise<void> {
    if (!this.#open) return

    await this.channel.checkQueue(this.#queue).catch(() => {})
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
