import { isNonRetryableError, isSagaCancelledError, isStepRejectedError } from '@msx/saga'

/** Why a checkout failed, in words for the customer: ours where we chose them, and nothing of what a library said. */
export function reasonOf(cause: unknown): string {
  const chosen = isStepRejectedError(cause) || isNonRetryableError(cause) || isSagaCancelledError(cause)
  return chosen ? cause.message : 'a service that the order needs did not answer in time'
}
