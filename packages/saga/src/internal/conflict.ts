import { SagaConflictError } from '../errors.js'

/** A start under a known key with another input: two different things were given one name. */
export function sagaConflict(known: { id: string; name: string; key: string | undefined }): SagaConflictError {
  return new SagaConflictError(
    known.id,
    `saga '${known.name}' was started under the key '${known.key}' before, with another input (as ${known.id})`,
  )
}
