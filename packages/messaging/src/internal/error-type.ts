import { isMessagingError } from '../errors.js'

/** A failure in one word of few: our code, or the name of the error's class. Never its text. */
export function errorType(error: unknown): string {
  if (isMessagingError(error)) return error.code
  try {
    return error instanceof Error && error.name !== '' ? error.name : '_OTHER'
  } catch {
    return '_OTHER'
  }
}
