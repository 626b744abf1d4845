import type { Backoff } from '@msx/retry'
import { isMessagingError, type MessagingErrorCode } from '../errors.js'

export type RowVerdict =
  /** It is not the row's fault: no row would do better now. */
  { readonly what: 'wait' } | { readonly what: 'retry'; readonly delay: number } | { readonly what: 'park' }

/** The broker, or the way to it, is what fails. */
const NOT_THE_ROWS_FAULT: readonly MessagingErrorCode[] = [
  'MSX_ACCESS_REFUSED',
  'MSX_CLOSED',
  'MSX_CONFIRM_TIMEOUT',
  'MSX_CONNECTION_LOST',
  'MSX_EXCHANGE_NOT_FOUND',
  'MSX_PEER_MISSING',
  'MSX_WINDOW_FULL',
]

/** What becomes of a row that could not be published, for the `failed`th time from 1. */
export function judgeRow(error: unknown, failed: number, attempts: number, backoff: Backoff): RowVerdict {
  if (!isMessagingError(error) || NOT_THE_ROWS_FAULT.includes(error.code)) return { what: 'wait' }
  if (!error.retryable || failed >= attempts) return { what: 'park' }

  return { what: 'retry', delay: pauseOf(backoff, failed - 1, 0) }
}

/** A day, in ms: nobody waits longer for a broker that may be back. */
const LONGEST_PAUSE = 86_400_000

/** For a back-off of the user's that throws, or has no number to give: in ms. */
const PAUSE = 1_000

/** What a back-off says, whatever it says: the relay has to go on. */
export function pauseOf(backoff: Backoff, retry: number, previous: number): number {
  try {
    const pause = backoff(retry, previous, Math.random)
    return pause >= 0 ? Math.min(pause, LONGEST_PAUSE) : PAUSE
  } catch {
    return PAUSE
  }
}
