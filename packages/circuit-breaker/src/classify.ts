import type { Outcome } from './policy.js'

/** What an outcome says about the service: it works, it does not, or nothing. */
export type Verdict = 'success' | 'failure' | 'ignore'

/** Rejections made on our side of the wire: they say nothing about the service. */
const OWN_REJECTIONS: ReadonlySet<unknown> = new Set(['MSX_BULKHEAD_FULL', 'MSX_THROTTLED', 'MSX_CIRCUIT_OPEN'])

/**
 * The verdict without a `classify` option: any value is a success, also a Response with status 503; any rejection is a
 * failure, except those that other policies of the suite made without calling the service. A caller's abort never gets
 * here: it is ignored whatever `classify` says.
 */
export function defaultClassify(outcome: Outcome): Verdict {
  if (outcome.ok) return 'success'
  return OWN_REJECTIONS.has(codeOf(outcome.error)) ? 'ignore' : 'failure'
}

/** Anything can be thrown, also what may not be looked at. */
function codeOf(error: unknown): unknown {
  try {
    return (error as { readonly code?: unknown } | null | undefined)?.code
  } catch {
    return undefined
  }
}

/** Asks `classify`, and holds it to the three answers there are. */
export function verdictOf(outcome: Outcome, classify: (outcome: Outcome) => Verdict): Verdict {
  const verdict = classify(outcome)
  if (verdict === 'success' || verdict === 'failure' || verdict === 'ignore') return verdict
  throw new TypeError(`classify must answer 'success', 'failure' or 'ignore', got ${String(verdict)}`)
}
