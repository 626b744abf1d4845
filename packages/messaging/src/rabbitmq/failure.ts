import { isMessagingError, MessagingError } from '../errors.js'
import { queueNotFound } from '../internal/refusals.js'

/** What amqplib rejects and closes with: the broker's reply code and text, or a system error. */
interface AmqpError {
  readonly name?: unknown
  readonly code?: unknown
  readonly message?: unknown
}

/** Beginnings of what amqplib says when a channel or connection ended under an operation; these have no code. */
const ENDED =
  /^(channel (ended|closed|closing)|connection clos|socket closed|unexpected close|heartbeat timeout|connect e)/i

/** "inequivalent arg 'x' for queue 'q' in vhost '/': received A but current is B", in each release's variation. */
const INEQUIVALENT =
  /inequivalent arg '([^']*)' for (?:queue|exchange) '([^']*)'.*?: received (.*?) but current is (.*?)"?$/s

/** A broker that closes while a vhost is being opened says why, but amqplib does not hand it on. */
const CLOSED_AT_OPEN = /^Expected ConnectionOpenOk; got <ConnectionClose/
const NO_VHOST = 'there is no such vhost, it is not open to this user, or it has as many connections as it may'

/**
 * What a failure of the broker or of the connection means to us. What is neither stays as it is. `doing` completes
 * "could not …".
 */
export function explain(error: unknown, doing: string): unknown {
  if (isMessagingError(error)) return error

  const { code } = error as AmqpError
  const text = textOf(error)
  if (code === 404) return notFound(text, error)
  if (code === 406) return mismatch(text, error)
  if (code === 405) return locked(text, error)
  if (CLOSED_AT_OPEN.test(text)) return refused(doing, NO_VHOST, error)
  if (code === 403 || /ACCESS.REFUSED|NOT.ALLOWED/.test(text)) return refused(doing, text, error)
  if (isLoss(error)) return connectionLost(doing, error)
  return error
}

/** Whether the same operation may work on another channel or connection. */
export function isLost(error: unknown): boolean {
  return isMessagingError(error) && error.code === 'MSX_CONNECTION_LOST'
}

export function connectionLost(doing: string, cause: unknown, details?: Record<string, unknown>): MessagingError {
  const problem = `could not ${doing}: the connection to the broker is lost${cause === undefined ? '' : ` (${textOf(cause)})`}`

  return new MessagingError('MSX_CONNECTION_LOST', problem, { retryable: true, cause, details })
}

/** The exchange that a channel was closed for, when it was. */
export function guiltyExchange(error: unknown): string | undefined {
  return /(?:no exchange|access to exchange) '([^']*)'/.exec(textOf(error))?.[1]
}

/** The size above which the broker closes the channel, when that is what it did. */
export function largestMessage(error: unknown): number | undefined {
  const size = /message size \d+ is larger than (?:the )?(?:configured )?max size (\d+)/.exec(textOf(error))?.[1]

  return size === undefined ? undefined : Number(size)
}

export function textOf(error: unknown): string {
  const { message, code } = error as AmqpError
  // Of several addresses that all refuse there is only the code.
  return error instanceof Error ? String(message || code) : String(error)
}

function isLoss(error: unknown): boolean {
  const { name, code } = error as AmqpError

  return (
    name === 'IllegalOperationError' ||
    (typeof code === 'string' && /^E(?!RR_)[A-Z_]+$/.test(code)) ||
    (typeof code === 'number' && code >= 300) ||
    ENDED.test(textOf(error))
  )
}

function notFound(text: string, cause: unknown): MessagingError {
  const queue = /no queue '([^']*)'/.exec(text)?.[1]
  if (queue !== undefined) return queueNotFound(queue, cause)

  const exchange = /no exchange '([^']*)'/.exec(text)?.[1]
  const problem = exchange === undefined ? text : `there is no exchange '${exchange}'`
  return new MessagingError('MSX_EXCHANGE_NOT_FOUND', problem, { retryable: false, cause, details: { exchange } })
}

function mismatch(text: string, cause: unknown): MessagingError {
  const [, option, queue, wanted, there] = INEQUIVALENT.exec(text) ?? []
  const problem =
    queue === undefined
      ? text
      : `'${queue}' is there with other options: ${option} is ${there}, wanted is ${wanted}; the broker cannot change it, so delete it (once it is empty) or ask for what is there`

  return new MessagingError('MSX_TOPOLOGY_MISMATCH', problem, {
    retryable: false,
    cause,
    details: { queue, option, there, wanted },
  })
}

/** A temporary queue belongs to the connection that made it, also to one that the broker has not yet missed. */
function locked(text: string, cause: unknown): MessagingError {
  const queue = /queue '([^']*)'/.exec(text)?.[1]
  const problem = `queue '${queue}' belongs to another connection`

  return new MessagingError('MSX_TOPOLOGY_MISMATCH', problem, { retryable: true, cause, details: { queue } })
}

function refused(doing: string, text: string, cause: unknown): MessagingError {
  const problem = `could not ${doing}: the broker refused it to this user (${text})`

  return new MessagingError('MSX_ACCESS_REFUSED', problem, { retryable: false, cause })
}
