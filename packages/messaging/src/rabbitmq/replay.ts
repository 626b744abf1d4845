import { MessagingError } from '../errors.js'
import { refuse } from '../internal/check.js'
import { textOf } from './failure.js'

/** How far a publish that was written and not confirmed is sent again after its channel or connection is lost. */
export interface ReplayOptions {
  /** How often one message may be sent again, from 1; `Infinity` for no limit. */
  readonly attempts: number
  /** How long after its publish it may be sent again, in ms; `Infinity` for no limit. */
  readonly maxAge: number
}

/** For no limit but the time that a publish may take. */
const UNLIMITED: ReplayOptions = { attempts: Number.POSITIVE_INFINITY, maxAge: Number.POSITIVE_INFINITY }
const NEVER: ReplayOptions = { attempts: 0, maxAge: 0 }

/** @throws TypeError for a wrong option. */
export function completeReplay(where: string, replay: ReplayOptions | false | undefined): ReplayOptions {
  if (replay === undefined) return UNLIMITED
  if (replay === false) return NEVER
  if (typeof replay !== 'object' || replay === null) refuse(where, 'replay', replay, '{ attempts, maxAge } or false')

  const { attempts, maxAge } = replay
  const isCount = attempts === Number.POSITIVE_INFINITY || (Number.isSafeInteger(attempts) && attempts >= 1)
  if (!isCount) refuse(where, 'replay.attempts', attempts, 'an integer from 1, or Infinity')
  const isAge = typeof maxAge === 'number' && maxAge > 0
  if (!isAge) refuse(where, 'replay.maxAge', maxAge, 'a number of milliseconds above 0, or Infinity')

  return { attempts, maxAge }
}

/** What was written and lost its channel. */
export interface Replayable {
  /** Completes "could not …". */
  readonly doing: string
  /** How often it was written. */
  readonly sends: number
  /** How long ago it was published, in ms. */
  readonly age: number
}

/** What to reject it with instead of sending it again; undefined when it may be. */
export function replayRefusal(
  { doing, sends, age }: Replayable,
  { attempts, maxAge }: ReplayOptions,
  cause: unknown,
): MessagingError | undefined {
  if (sends <= attempts && age < maxAge) return undefined

  const why = cause === undefined ? '' : ` (${textOf(cause)})`
  const limit = sends > attempts ? `attempts is ${attempts}` : `maxAge is ${maxAge} ms`
  const rule = attempts === 0 ? 'replay is false' : `replay.${limit}`
  const problem = `could not ${doing}: the channel to the broker was lost before its confirm${why}; the broker may have it all the same, and it is not sent again: ${rule}`

  return new MessagingError('MSX_CONNECTION_LOST', problem, {
    retryable: true,
    cause,
    details: { wasSent: true, sends },
  })
}
