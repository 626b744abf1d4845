import { MessagingError } from '../errors.js'

/** undefined_table, undefined_column: what a database says that has none of our tables, or those of an older release. */
const MISSING: readonly unknown[] = ['42P01', '42703']

/** Runs a statement of ours. That its table is missing is said in words that help. */
export async function onTables<T>(schema: string, statement: Promise<T>): Promise<T> {
  try {
    return await statement
  } catch (error) {
    throw withAdvice(schema, error)
  }
}

export function withAdvice(schema: string, error: unknown): unknown {
  if (!MISSING.includes((error as { readonly code?: unknown } | null)?.code)) return error

  const problem = `the tables of schema '${schema}' are missing or older than this release: run migrate() of the outbox or the inbox once, or what migrations() prints`
  return new MessagingError('MSX_NOT_MIGRATED', problem, { retryable: true, cause: error, details: { schema } })
}
