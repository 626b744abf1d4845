/** What went wrong, for programs. The README's table says when each one is met and what to do about it. */
export type MessagingErrorCode =
  | 'MSX_ACCESS_REFUSED'
  | 'MSX_BATCH_FAILED'
  | 'MSX_CLOSED'
  | 'MSX_CONFIRM_TIMEOUT'
  | 'MSX_CONNECTION_LOST'
  | 'MSX_DECODE'
  | 'MSX_DELAY_UNSUPPORTED'
  | 'MSX_DELIVERY_LIMIT'
  | 'MSX_EXCHANGE_NOT_FOUND'
  | 'MSX_EXPIRED'
  | 'MSX_GROUP_TAKEN'
  | 'MSX_HANDLER_FAILED'
  | 'MSX_HANDLER_TIMEOUT'
  | 'MSX_KEY_PARKED'
  | 'MSX_NACKED'
  | 'MSX_NON_RETRYABLE'
  | 'MSX_NO_JSON_SCHEMA'
  | 'MSX_NOT_JSON'
  | 'MSX_NOT_MIGRATED'
  | 'MSX_NOT_STORABLE'
  | 'MSX_PEER_MISSING'
  | 'MSX_QUEUE_NOT_FOUND'
  | 'MSX_REJECTED'
  | 'MSX_REQUEST_TIMEOUT'
  | 'MSX_TOO_LARGE'
  | 'MSX_TOPOLOGY_MISMATCH'
  | 'MSX_UNEXPECTED_REPLY'
  | 'MSX_UNKNOWN_EVENT'
  | 'MSX_UNMATCHED'
  | 'MSX_UNROUTABLE'
  | 'MSX_UNSUPPORTED_VERSION'
  | 'MSX_UPCAST_FAILED'
  | 'MSX_VALIDATION'
  | 'MSX_WINDOW_FULL'

export interface MessagingErrorOptions {
  /** Whether the same call, or the same message, may succeed later. */
  readonly retryable: boolean
  readonly cause?: unknown
  /** Facts about the failure: the event's type, the issues a schema found, … */
  readonly details?: Readonly<Record<string, unknown>> | undefined
}

const BRAND: unique symbol = Symbol.for('msx.messaging.error')
const NON_RETRYABLE: unique symbol = Symbol.for('msx.messaging.nonRetryable')

/**
 * Everything this package rejects with. A handler that throws one with `retryable: false` sends its message to the
 * dead letters at once.
 */
export class MessagingError extends Error {
  readonly code: MessagingErrorCode
  readonly retryable: boolean
  readonly details: Readonly<Record<string, unknown>> | undefined

  constructor(code: MessagingErrorCode, message: string, options: MessagingErrorOptions) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'MessagingError'
    this.code = code
    this.retryable = options.retryable
    this.details = options.details
    Object.defineProperty(this, BRAND, { value: true })
  }
}

/**
 * Thrown by a handler to say that no further attempt can help: the message goes straight to the dead letters.
 *
 * @example
 * if (order.total < 0) throw new NonRetryableError(`order ${order.id} has a negative total`)
 */
export class NonRetryableError extends MessagingError {
  constructor(message: string, options: Omit<MessagingErrorOptions, 'retryable'> = {}) {
    super('MSX_NON_RETRYABLE', message, { ...options, retryable: false })
    this.name = 'NonRetryableError'
    Object.defineProperty(this, NON_RETRYABLE, { value: true })
  }
}

/** Holds for a MessagingError of any copy of this package. */
export function isMessagingError(error: unknown): error is MessagingError {
  return carries(error, BRAND)
}

/** Holds for a NonRetryableError of any copy of this package. */
export function isNonRetryableError(error: unknown): error is NonRetryableError {
  return carries(error, NON_RETRYABLE)
}

function carries(error: unknown, brand: symbol): boolean {
  try {
    return typeof error === 'object' && error !== null && (error as Record<symbol, unknown>)[brand] === true
  } catch {
    // Anything can be thrown, also what does not let itself be looked at.
    return false
  }
}
