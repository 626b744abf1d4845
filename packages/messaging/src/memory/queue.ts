import { Fifo } from '../internal/fifo.js'
import type { QueueSpec, WireMessage } from '../transport.js'
import type { MemoryConsumer } from './consumer.js'

/** A message in one queue. Each queue has its own entry; the message itself never changes. */
export interface Entry {
  readonly message: WireMessage
  readonly place: number
  /** When it stops being worth anything, by the broker's clock. */
  readonly expiresAt: number
  redelivered: boolean
}

/** What a queue needs of its broker. */
export interface QueueHost {
  now(): number
  after(ms: number, run: () => void): void
  discard(queue: MemoryQueue, message: WireMessage, why: 'expired' | 'rejected'): void
  delete(queue: MemoryQueue): void
  /** The count of messages in hands changed, by +1 or -1. */
  inHands(change: number): void
}

/**
 * What is ready, in order, and the consumers that take turns. Whenever something is ready, no consumer has room:
 * every change that could break this ends in `pump`.
 */
export class MemoryQueue {
  readonly spec: QueueSpec
  readonly #host: QueueHost
  readonly #ready = new Fifo<Entry>()
  readonly #consumers: MemoryConsumer[] = []
  #arrivals = 0
  #turn = 0
  #unsettled = 0
  /** Only the consumer that came first gets something. */
  readonly #single: boolean
  #isChanging = false

  constructor(spec: QueueSpec, host: QueueHost, single = false) {
    this.spec = spec
    this.#host = host
    this.#single = single
  }

  get ready(): number {
    return this.#ready.size
  }

  get unsettled(): number {
    return this.#unsettled
  }

  get consumers(): number {
    return this.#consumers.length
  }

  *messages(): Iterable<WireMessage> {
    for (const { message } of this.#ready) yield message
  }

  put(message: WireMessage): void {
    const { ttl } = message
    const expiresAt = ttl === undefined ? Number.POSITIVE_INFINITY : this.#host.now() + ttl
    const entry = { message, place: this.#arrivals++, expiresAt, redelivered: false }

    // Straight into free hands: that is in time even for a ttl of 0.
    const consumer = this.#nextWithRoom()
    if (consumer !== undefined) {
      consumer.assign(entry)
      return
    }

    this.#ready.push(entry)
    if (ttl !== undefined) this.#host.after(ttl, () => this.#expire())
  }

  putBack(entry: Entry): void {
    this.#ready.insertBehind(entry, (other) => other.place < entry.place)
  }

  discard(entry: Entry): void {
    this.#host.discard(this, entry.message, 'rejected')
  }

  /** The first message, taken out. */
  take(): Entry | undefined {
    this.#expire()

    return this.#ready.shift()
  }

  add(consumer: MemoryConsumer): void {
    this.#consumers.push(consumer)
    this.#pump()
  }

  remove(consumer: MemoryConsumer): void {
    const at = this.#consumers.indexOf(consumer)
    if (at !== -1) this.#consumers.splice(at, 1)
    if (this.spec.autoDelete === true && this.#consumers.length === 0) this.#host.delete(this)
  }

  /** Hands nothing out until the change is made. */
  change(make: () => void): void {
    this.#isChanging = true
    make()
    this.#isChanging = false
    this.#pump()
  }

  handedOut(): void {
    this.#unsettled += 1
    this.#host.inHands(1)
  }

  settled(): void {
    this.#unsettled -= 1
    this.#pump()
    this.#host.inHands(-1)
  }

  /** Assigns what is ready to the consumers that have room, in turns. */
  #pump(): void {
    if (this.#ready.size === 0 || this.#isChanging) return

    this.#expire()
    while (this.#ready.size > 0) {
      const consumer = this.#nextWithRoom()
      if (consumer === undefined) return
      consumer.assign(this.#ready.shift() as Entry)
    }
  }

  /** Only what is first expires, as in RabbitMQ: a message behind one that lives longer is looked at when its turn comes. */
  #expire(): void {
    const now = this.#host.now()
    for (let first = this.#ready.peek(); first !== undefined && first.expiresAt <= now; first = this.#ready.peek()) {
      this.#ready.shift()
      this.#host.discard(this, first.message, 'expired')
    }
  }

  #nextWithRoom(): MemoryConsumer | undefined {
    if (this.#single) {
      const [first] = this.#consumers
      return first?.hasRoom ? first : undefined
    }
    for (let tried = 0; tried < this.#consumers.length; tried += 1) {
      const consumer = this.#consumers[this.#turn++ % this.#consumers.length]
      if (consumer?.hasRoom) return consumer
    }
    return undefined
  }
}
