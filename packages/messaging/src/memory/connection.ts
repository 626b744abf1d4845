import { MessagingError } from '../errors.js'
import type {
  Consumer,
  ConsumeTerms,
  Delivery,
  PublishTerms,
  QueueSpec,
  TransportConnection,
  TransportHealth,
  WireMessage,
} from '../transport.js'
import type { MemoryBroker } from './broker.js'
import { MemoryConsumer } from './consumer.js'
import { MemoryDelivery } from './delivery.js'
import { MemoryQueue } from './queue.js'

/** One bus's line to the broker. The methods are async so that what the broker throws rejects. */
export class MemoryConnection implements TransportConnection {
  readonly #broker: MemoryBroker
  readonly #consumers = new Set<MemoryConsumer>()
  readonly #held = new Set<MemoryDelivery>()
  readonly #temporary = new Set<MemoryQueue>()
  #closed = false

  constructor(broker: MemoryBroker) {
    this.#broker = broker
    broker.connected(1)
  }

  async declare(spec: QueueSpec): Promise<void> {
    this.#checkOpen()
    const queue = this.#broker.declare(spec)
    if (spec.temporary === true && queue instanceof MemoryQueue) this.#temporary.add(queue)
  }

  async publish(message: WireMessage, terms: PublishTerms): Promise<void> {
    this.#checkOpen()
    this.#broker.publish(message, terms)
  }

  async send(queue: string, message: WireMessage, terms: { readonly delay?: number | undefined } = {}): Promise<void> {
    this.#checkOpen()
    this.#broker.send(queue, message, terms.delay ?? 0)
  }

  async consume(name: string, terms: ConsumeTerms, receive: (delivery: Delivery) => void): Promise<Consumer> {
    this.#checkOpen()
    const queue = this.#broker.find(name)
    const consumer = new MemoryConsumer(queue, terms, receive)
    this.#consumers.add(consumer)
    queue.add(consumer)
    return consumer
  }

  async get(name: string): Promise<Delivery | undefined> {
    this.#checkOpen()
    const queue = this.#broker.find(name)
    const entry = queue.take()
    return entry === undefined ? undefined : new MemoryDelivery(queue, entry, this.#held)
  }

  async depth(name: string): Promise<number> {
    this.#checkOpen()
    return this.#broker.find(name).ready
  }

  health(): TransportHealth {
    return this.#closed ? 'down' : 'up'
  }

  async close(): Promise<void> {
    if (this.#closed) return

    this.#closed = true
    for (const consumer of this.#consumers) consumer.drop()
    for (const delivery of [...this.#held]) delivery.release()
    for (const queue of this.#temporary) this.#broker.delete(queue)
    this.#broker.connected(-1)
  }

  #checkOpen(): void {
    if (this.#closed) throw new MessagingError('MSX_CLOSED', 'the connection is closed', { retryable: false })
  }
}
