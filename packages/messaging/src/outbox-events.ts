/** What a relay tells its listeners. */
export interface RelayEvents {
  /** The broker has a row. `lag` is how long that took from when it was written, or from when its delay was over, in ms. */
  published: RowFacts & { readonly lag: number }
  /** So many rows were confirmed by the broker and deleted. */
  relayed: { readonly count: number }
  /** The broker refused a row, which is tried again after `delay`, in ms. */
  retry: RowRefused & { readonly delay: number }
  /** A row is parked: it waits for `retry`, and later rows of its key with it. */
  parked: RowRefused
  /** Broker or database are away; the relay tries again after `delay`, in ms. */
  interrupted: { readonly error: unknown; readonly delay: number }
}

export interface RowFacts {
  /** Of the row. */
  readonly id: string
  readonly messageId: string
  readonly type: string
  readonly key?: string | undefined
}

export interface RowRefused extends RowFacts {
  readonly error: unknown
}

/** How many rows there are of each kind. */
export interface OutboxStats {
  /** To be published now. */
  readonly ready: number
  /** Published with a delay that is not over. */
  readonly delayed: number
  /** Refused by the broker and to be tried again. */
  readonly retrying: number
  readonly parked: number
  /** Behind one of their key that was refused. */
  readonly held: number
  /** How long the oldest that is ready waits, in ms; a delay that was asked for is no waiting. */
  readonly lag: number
}

export interface RelaySnapshot {
  /** `waiting`: broker or database are away. */
  readonly state: 'running' | 'waiting' | 'closed'
  /** How many of the 16 buckets are this relay's. */
  readonly buckets: number
  /** Rows on their way to the broker, or confirmed and not deleted yet. */
  readonly inFlight: number
  /** Rows confirmed and deleted since it was made. */
  readonly relayed: number
  /**
   * The rows of its buckets when it last looked, which is twice a second while it runs; it counts no further than 10,000
   * of a kind. Undefined before the first look and once closed.
   */
  readonly outbox: OutboxStats | undefined
}

/** What an inbox tells its listeners. */
export interface InboxEvents {
  /** A message was handled, and that is committed. */
  handled: InboxMessage
  /** The group has handled this message before: its handler was not called. */
  duplicate: InboxMessage
}

export interface InboxMessage {
  readonly group: string
  readonly type: string
  readonly id: string
}

/** The relay of an outbox, as far as it has numbers. */
export interface MeasurableRelay {
  /** Of the bus. */
  readonly source: string
  readonly eventTypes: readonly string[]
  on<E extends keyof RelayEvents>(event: E, listener: (event: RelayEvents[E]) => void): () => void
  snapshot(): { readonly outbox: OutboxStats | undefined }
}

/** An inbox, as far as it has numbers. */
export interface MeasurableInbox {
  on<E extends keyof InboxEvents>(event: E, listener: (event: InboxEvents[E]) => void): () => void
}
