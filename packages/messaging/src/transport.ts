import type { Clock } from './clock.js'

/**
 * What a bus needs of a broker. The words are AMQP's: messages are published to one topic exchange with their type as
 * routing key; each group has a queue bound with its patterns; a message stays the queue's until it is acknowledged.
 *
 * One transport is one broker, which several buses may share; each opens a connection of its own.
 */
export interface Transport {
  /** The time the broker lives in; a bus uses the same. Default: the machine's. */
  readonly clock?: Clock | undefined
  /** The broker's kind, by its name in OpenTelemetry where it has one there. */
  readonly system?: string | undefined
  /** The exchange that events are published to, when it has a name. */
  readonly exchange?: string | undefined
  /** The longest delay it can keep a message for, in ms. Default: any. */
  readonly longestDelay?: number | undefined
  /** Rejects when the broker cannot be reached. What breaks later is the connection's to repair. */
  connect(options: ConnectOptions): Promise<TransportConnection>
}

export interface ConnectOptions {
  /** Who connects, for those who look at the broker. */
  readonly name: string
  /** Told what becomes of the connection after it was made. Does not throw. */
  readonly notify?: ((notice: ConnectionNotice) => void) | undefined
}

export type ConnectionNotice =
  /** The broker is lost, or found again; queues and consumers follow. */
  | { readonly event: 'connection'; readonly state: 'up' | 'down'; readonly error?: unknown }
  /** The broker takes nothing for now, or takes messages again. */
  | { readonly event: 'blocked'; readonly blocked: boolean; readonly reason?: string | undefined }

/**
 * A bus's own line to the broker. It outlives broken sockets: a transport that reconnects declares the queues and
 * resumes the consumers again by itself.
 */
export interface TransportConnection {
  /** Makes the queue, its dead-letter queue and its bindings be there. Bindings are added, never removed. */
  declare(queue: QueueSpec): Promise<void>
  /** To the exchange. Resolves when the broker has it; calls reach a queue in the order they were made. */
  publish(message: WireMessage, options: PublishTerms): Promise<void>
  /** Straight to one queue and no other, keeping the type. Resolves when the broker has it. */
  send(queue: string, message: WireMessage, terms?: { readonly delay?: number | undefined }): Promise<void>
  /** Hands over at most `prefetch` messages that are not settled yet. Never calls back before it has resolved. */
  consume(queue: string, terms: ConsumeTerms, receive: (delivery: Delivery) => void): Promise<Consumer>
  /** One message without subscribing, or undefined when the queue is empty. */
  get(queue: string): Promise<Delivery | undefined>
  /** How many messages the queue has ready. Rejects with MSX_QUEUE_NOT_FOUND when there is no such queue. */
  depth(queue: string): Promise<number>
  health(): TransportHealth
  /** Cancels the consumers of this connection; what they have not settled goes back to its queue. Idempotent. */
  close(): Promise<void>
}

/** A message on its way: bytes and plain headers, so that nothing is shared with the one who published it. */
export interface WireMessage {
  /** The routing key it was first published with; `send` keeps it. */
  readonly type: string
  readonly body: Uint8Array
  readonly headers: WireHeaders
  /** Missing in a message of a foreign publisher, as is each optional field. */
  readonly id?: string | undefined
  readonly contentType?: string | undefined
  /** When it was published, in ms since 1970. */
  readonly timestamp?: number | undefined
  readonly correlationId?: string | undefined
  /** The queue that waits for an answer. */
  readonly replyTo?: string | undefined
  /** How long it may wait in a queue, in ms. */
  readonly ttl?: number | undefined
  /** What a foreign publisher wrote on it besides. */
  readonly properties?: ForeignProperties | undefined
}

/**
 * Properties that nothing here reads or writes. They go along with the message to its retries and dead letters, for whoever
 * looks at it there. AMQP's `user-id` does not: a broker takes it from that user only.
 */
export interface ForeignProperties {
  readonly contentEncoding?: string | undefined
  /** From 0 to 255. */
  readonly priority?: number | undefined
  readonly appId?: string | undefined
  /** Not the type of the event, which is its routing key. */
  readonly type?: string | undefined
}

export type WireHeaders = Readonly<Record<string, unknown>>

export interface QueueSpec {
  readonly name: string
  /** Topic patterns that bind it to the exchange. */
  readonly patterns: readonly string[]
  /** Where the broker puts what is rejected or expires. Without one such messages are gone. */
  readonly deadLetterQueue?: string | undefined
  /**
   * Divides it into so many queues, named by {@link partitionQueue}. A message goes to the one its header `msx-slot` says,
   * without that header to the first. Each has one consumer at a time, however many ask for it.
   */
  readonly partitions?: number | undefined
  /** Somebody else made it: it is taken as it is, and only bound. Default false. */
  readonly existing?: boolean | undefined
  /** Lives and dies with the connection that declared it. Default false: it outlives every connection. */
  readonly temporary?: boolean | undefined
  /** Goes with its last consumer, with all that it has. For a temporary queue. Default false. */
  readonly autoDelete?: boolean | undefined
}

export interface PublishTerms {
  /** Reject with MSX_UNROUTABLE when no queue takes it. Cannot be known of a delayed message. */
  readonly mandatory: boolean
  /** How long the broker keeps it back before routing it, in ms. */
  readonly delay?: number | undefined
}

export interface ConsumeTerms {
  readonly prefetch: number
  /**
   * Of a partition: `cancel` gives back what is not settled before the next consumer gets anything, and it cannot be
   * settled after that. Default false.
   */
  readonly single?: boolean | undefined
}

/** A message in the hands of a consumer. Only the first settlement counts, and none once the connection is gone. */
export interface Delivery {
  readonly message: WireMessage
  /** It was given to a consumer before. */
  readonly redelivered: boolean
  /** Its connection broke: the queue gives it out again, and nothing done for this delivery would count. */
  readonly gone?: boolean | undefined
  /** Done: the queue forgets it. */
  ack(): void
  /** Back to its place in the queue. */
  release(): void
  /** To the queue's dead letters, or gone when it has none. */
  reject(): void
}

export interface Consumer {
  /** Ends deliveries. Those already made can still be settled. Idempotent. */
  cancel(): Promise<void>
}

/** `degraded`: it works, or soon will again, but not everything is as it should be. */
export type TransportHealth = 'up' | 'degraded' | 'down'
