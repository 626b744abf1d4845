import type { StandardSchemaV1 } from '@standard-schema/spec'
import { MessagingError } from '../errors.js'

type Result = StandardSchemaV1.Result<unknown>

/** Does not make a promise of what a schema answers at once, as nearly all do. */
export function validate(schema: StandardSchemaV1, value: unknown): Result | Promise<Result> {
  return schema['~standard'].validate(value)
}

export function invalid(
  type: string,
  direction: 'published' | 'received',
  result: StandardSchemaV1.FailureResult,
): MessagingError {
  return new MessagingError('MSX_VALIDATION', `'${type}' as ${direction} is not valid: ${summary(result)}`, {
    retryable: false,
    details: { type, issues: result.issues },
  })
}

/** `items.0.quantity: expected a number; total: required` */
export function summary({ issues }: StandardSchemaV1.FailureResult): string {
  return issues
    .map(({ path, message }) => (path?.length ? `${path.map(segment).join('.')}: ${message}` : message))
    .join('; ')
}

function segment(part: PropertyKey | StandardSchemaV1.PathSegment): string {
  return String(typeof part === 'object' ? part.key : part)
}
