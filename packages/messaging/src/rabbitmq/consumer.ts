import { setImmediate } from 'node:timers'
import type { ChannelModel } from 'amqplib'
import type { Timekeeper } from '../clock.js'
import type { Consumer, Delivery } from '../transport.js'
import { explain } from './failure.js'
import { Lane } from './lane.js'
import type { Link } from './link.js'
import { Nap } from './nap.js'
import type { Settings } from './options.js'
import type { Topology } from './topology.js'

export interface ConsumerParts {
  readonly link: Link
  readonly topology: Topology
  readonly backoff: Settings['reconnect']
  readonly time: Timekeeper
  readonly queue: string
  readonly prefetch: number
  /** It gives back everything at once, before another one may begin. */
  readonly single: boolean
  readonly receive: (delivery: Delivery) => void
  /** Declares the queue again, if this connection ever declared it. */
  readonly restore: (model: ChannelModel) => Promise<void>
  /** It was cancelled, and everything it was given is settled. */
  readonly onDone: () => void
}

/** AMQP has 16 bits for it. */
const LARGEST_PREFETCH = 65_535

/** Consumes a queue, on a channel of its own, again and again: whatever ends the channel or the consumer. */
export class RabbitmqConsumer implements Consumer {
  readonly #parts: ConsumerParts
  /** Of now and of before, as long as something on them may be settled. */
  readonly #lanes = new Set<Lane>()
  #lane: Lane | undefined
  #tag: string | undefined
  #cancelled = false
  #recovering = false
  readonly #nap: Nap

  constructor(parts: ConsumerParts) {
    this.#parts = parts
    this.#nap = new Nap(parts.time)
  }

  /** Whether the broker has it as a consumer now, if it is to. */
  get isWhole(): boolean {
    return this.#cancelled || this.#tag !== undefined
  }

  /** Rejects when the broker refuses it, with MSX_CONNECTION_LOST when it should be tried again. */
  async attach(model: ChannelModel): Promise<void> {
    const { queue, prefetch, receive, topology } = this.#parts
    let opened: Lane | undefined
    try {
      const channel = await model.createChannel()
      // What it says comes with the rejected operation, or is a close.
      channel.on('error', () => {})
      const lane = new Lane(channel, queue, topology.names)
      this.#lanes.add(lane)
      opened = lane
      let isOver = false
      const onEnd = (): void => {
        isOver = true
        this.#ended(lane)
      }
      channel.once('close', () => {
        this.#lanes.delete(lane)
        onEnd()
        this.#tellIfDone()
      })
      await channel.prefetch(Math.min(prefetch, LARGEST_PREFETCH))

      // What comes together with the broker's consent waits until the caller has it too.
      let early: Delivery[] | undefined = []
      const { consumerTag } = await channel.consume(queue, (raw) => {
        if (raw === null) onEnd()
        else if (early === undefined) receive(lane.deliver(raw))
        else early.push(lane.deliver(raw))
      })
      setImmediate(() => {
        const first = early ?? []
        early = undefined
        for (const delivery of first) receive(delivery)
      })

      this.#lane = lane
      this.#tag = consumerTag
      // It may be over before it began, in the same breath of the broker.
      if (isOver) this.#ended(lane)
      else if (this.#cancelled) await this.#leave()
    } catch (error) {
      opened?.retire()
      throw explain(error, `consume queue '${queue}'`)
    }
  }

  async cancel(): Promise<void> {
    if (this.#cancelled) return

    this.#cancelled = true
    this.#nap.end()
    await this.#leave()
    this.#tellIfDone()
  }

  /** Makes sure that what was settled has reached the queue, then gives back the rest. */
  async close(): Promise<void> {
    await this.cancel()
    await Promise.all([...this.#lanes].map((lane) => lane.close()))
  }

  #tellIfDone(): void {
    if (this.#cancelled && this.#lanes.size === 0) this.#parts.onDone()
  }

  async #leave(): Promise<void> {
    const lane = this.#lane
    const tag = this.#tag
    this.#tag = undefined
    if (lane === undefined || tag === undefined || !lane.isOpen) return

    // A cancelled consumer makes room for the next one, while it still holds what comes first. A channel that closes does not.
    if (this.#parts.single) return lane.close()

    // A channel that ends meanwhile has ended the deliveries too.
    await Promise.race([
      lane.channel.cancel(tag).catch(() => {}),
      new Promise((resolve) => lane.channel.once('close', resolve)),
    ])
    lane.retire()
  }

  /** The channel is closed, or the queue is gone from under the consumer. */
  #ended(lane: Lane): void {
    if (this.#lane !== lane || this.#tag === undefined) return

    this.#tag = undefined
    lane.retire()
    if (!this.#cancelled && !this.#recovering) void this.#recover()
  }

  async #recover(): Promise<void> {
    const { link, backoff, queue, restore } = this.#parts
    this.#recovering = true
    let delay = 0
    for (let retry = 0; !this.#cancelled && this.#tag === undefined; retry += 1) {
      try {
        const model = await link.whenUp(`consume queue '${queue}'`)
        if (this.#cancelled) break
        // After a lost connection the queue is usually still there, but the broker may have lost it too.
        await restore(model)
        await this.attach(model)
      } catch {
        if (link.state === 'closed') break
        // Whatever it was may pass: a queue in use by a connection that the broker has not missed yet, a missing right.
        delay = backoff(retry, delay, Math.random)
        await this.#nap.sleep(delay)
      }
    }
    this.#recovering = false
  }
}
