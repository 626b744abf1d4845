import type { Delivery, WireMessage } from '../transport.js'
import type { Entry, MemoryQueue } from './queue.js'

/** A message handed out. Whoever holds it keeps it in a set; settling takes it out, which only works once. */
export class MemoryDelivery implements Delivery {
  readonly redelivered: boolean
  readonly #queue: MemoryQueue
  readonly #entry: Entry
  readonly #held: Set<MemoryDelivery>

  constructor(queue: MemoryQueue, entry: Entry, held: Set<MemoryDelivery>) {
    this.redelivered = entry.redelivered
    this.#queue = queue
    this.#entry = entry
    this.#held = held
    held.add(this)
    queue.handedOut()
  }

  get message(): WireMessage {
    return this.#entry.message
  }

  ack(): void {
    if (this.#held.delete(this)) this.#queue.settled()
  }

  release(): void {
    this.#entry.redelivered = true
    this.takeBack()
  }

  reject(): void {
    if (!this.#held.delete(this)) return

    this.#queue.discard(this.#entry)
    this.#queue.settled()
  }

  /** Back in its place as if it had never been handed out. */
  takeBack(): void {
    if (!this.#held.delete(this)) return

    this.#queue.putBack(this.#entry)
    this.#queue.settled()
  }
}
