/** A start that failed for a reason that can be mended from outside: the message says which, and how. */
export class StartError extends Error {
  override readonly name = 'StartError'
}
