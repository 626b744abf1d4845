// The import, not the global: the broker delivers even where a test replaced the timers.
import { setImmediate } from 'node:timers'
import type { Consumer, ConsumeTerms, Delivery } from '../transport.js'
import { MemoryDelivery } from './delivery.js'
import type { Entry, MemoryQueue } from './queue.js'

/** One consumer of a queue. Messages are assigned to it at once and reach it in a later turn, as over a socket. */
export class MemoryConsumer implements Consumer {
  readonly #queue: MemoryQueue
  readonly #prefetch: number
  readonly #receive: (delivery: Delivery) => void
  readonly #held = new Set<MemoryDelivery>()
  #onTheWay: MemoryDelivery[] = []
  #cancelled = false

  readonly #single: boolean

  constructor(queue: MemoryQueue, { prefetch, single = false }: ConsumeTerms, receive: (delivery: Delivery) => void) {
    this.#queue = queue
    this.#prefetch = prefetch
    this.#single = single
    this.#receive = receive
  }

  get hasRoom(): boolean {
    return this.#held.size < this.#prefetch
  }

  assign(entry: Entry): void {
    this.#onTheWay.push(new MemoryDelivery(this.#queue, entry, this.#held))
    if (this.#onTheWay.length === 1) setImmediate(() => this.#arrive())
  }

  cancel(): Promise<void> {
    if (this.#single) this.drop()
    else this.#leave()

    return Promise.resolve()
  }

  /** The connection is gone: so is everything it held. */
  drop(): void {
    this.#queue.change(() => {
      this.#leave()
      for (const delivery of [...this.#held]) delivery.release()
    })
  }

  #leave(): void {
    if (this.#cancelled) return

    this.#cancelled = true
    this.#queue.remove(this)
    const late = this.#onTheWay
    this.#onTheWay = []
    for (const delivery of late) delivery.takeBack()
  }

  #arrive(): void {
    const arrived = this.#onTheWay
    this.#onTheWay = []
    for (const delivery of arrived) this.#receive(delivery)
  }
}
