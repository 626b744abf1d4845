import { MessagingError } from '../errors.js'
import type { WireMessage } from '../transport.js'

/** What every transport says alike. */
export function unroutable({ type, id }: WireMessage): MessagingError {
  const problem = `'${type}' reached no queue: no group is subscribed to it (an event nobody needs to listen to is declared with optional: true)`

  return new MessagingError('MSX_UNROUTABLE', problem, { retryable: true, details: { type, id } })
}

export function queueNotFound(queue: string, cause?: unknown): MessagingError {
  return new MessagingError('MSX_QUEUE_NOT_FOUND', `there is no queue '${queue}'`, {
    retryable: false,
    cause,
    details: { queue },
  })
}

export function delayUnsupported(what: string, delay: number, longest: number): MessagingError {
  const problem = `${what}: a delay of ${delay} ms is longer than the ${longest} ms this transport can keep a message for`

  return new MessagingError('MSX_DELAY_UNSUPPORTED', problem, { retryable: false, details: { delay, longest } })
}
