import { exponential } from '@msx/retry'
import { duration, optionalFunction, shown } from './internal/check.js'
import type { Backoff, Outcome } from './shapes.js'
import type { CompensateContext, ForwardOptions, StepContext, StepRetry, UndoPolicy } from './step.js'

/** How often one thing is tried, and how long an attempt may take. */
export interface Budget {
  readonly attempts: number
  readonly backoff: Backoff
  readonly shouldRetry: (outcome: Outcome, attempt: number) => boolean
  readonly timeout: number
}

type AnyContext = StepContext<unknown, unknown>
type AnyCompensateContext = CompensateContext<unknown, unknown, unknown>

/** Steps that run at the same time: those of the plan from `start` up to, not including, `end`. */
export interface Group {
  readonly start: number
  readonly end: number
  readonly concurrency: number
}

export interface PlannedWait {
  readonly event: string
  readonly key: (c: AnyContext) => string
  readonly timeout: number | undefined
  readonly onTimeout: 'fail' | 'continue'
}

export interface PlannedChild {
  readonly plan: Plan
  readonly input: (c: AnyContext) => unknown
}

/** One step as the engine sees it: options resolved, types erased. `tx` is undefined unless the step is transactional. */
export interface PlannedStep {
  readonly name: string
  readonly kind: 'step' | 'sleep' | 'wait' | 'child'
  /** Left out when this says no. */
  readonly when?: ((c: AnyContext) => boolean) | undefined
  readonly group?: Group | undefined
  readonly sleep?: ((c: AnyContext) => number) | undefined
  readonly wait?: PlannedWait | undefined
  readonly child?: PlannedChild | undefined
  readonly transactional: boolean
  readonly pivot: boolean
  readonly run: (tx: unknown, c: AnyContext) => unknown
  readonly compensate: ((tx: unknown, c: AnyCompensateContext) => unknown) | undefined
  readonly forward: Budget
  readonly undo: Budget
  readonly inDoubt: 'compensate' | 'assume-not-applied'
  readonly intent: boolean
}

export interface Plan {
  readonly name: string
  readonly version: number
  /** A hash of the names, kinds and order of the steps. */
  readonly shape: string
  readonly steps: readonly PlannedStep[]
  /** Sagas of all versions of this name that run at a time, on all workers together. */
  readonly maxRunning?: number | undefined
  /** Unknown where a saga is only operated on: a worker will find the end. */
  readonly returns: ((c: { readonly input: unknown; readonly results: unknown }) => unknown) | undefined
}

/** The name under which a saga is stuck whose `returns` threw after the pivot. */
export const RETURNS = '(returns)'

const DEFAULT_TIMEOUT = 60_000
const DEFAULT_ATTEMPTS = 3
const defaultBackoff = exponential()

// biome-ignore lint/suspicious/noExplicitAny: the one place where typed callbacks become untyped ones
type AnyFunction = (...args: any[]) => unknown

export interface StepDraft {
  readonly name: string
  readonly transactional: boolean
  readonly pivot: boolean
  readonly afterPivot: boolean
  readonly run: AnyFunction
  readonly options: (ForwardOptions & UndoPolicy & { readonly compensate?: AnyFunction | undefined }) | undefined
}

export function planStep(draft: StepDraft): PlannedStep {
  const { name, transactional, pivot, afterPivot, run } = draft
  const options = draft.options ?? {}
  const at = `step '${name}':`

  if (typeof run !== 'function') throw new TypeError(`${at} run must be a function, not ${shown(run)}`)
  optionalFunction(`${at} compensate`, options.compensate)
  if (options.compensate && (pivot || afterPivot))
    throw new TypeError(`${at} compensate has no place in or after the pivot: what comes there is never undone`)
  if (options.inDoubt !== undefined && options.inDoubt !== 'compensate' && options.inDoubt !== 'assume-not-applied')
    throw new TypeError(`${at} inDoubt must be 'compensate' or 'assume-not-applied', not ${shown(options.inDoubt)}`)
  if (options.intent !== undefined && typeof options.intent !== 'boolean')
    throw new TypeError(`${at} intent must be true or false, not ${shown(options.intent)}`)

  const { compensate } = options
  return {
    name,
    kind: 'step',
    transactional,
    pivot,
    run: transactional ? run : (_tx, c) => run(c),
    compensate: compensate && (transactional ? compensate : (_tx, c) => compensate(c)),
    forward: budget(`${at} retry`, options.retry, afterPivot ? Infinity : DEFAULT_ATTEMPTS, {
      timeout: duration(`${at} timeout`, options.timeout, DEFAULT_TIMEOUT, 1),
    }),
    undo: budget(`${at} undoRetry`, options.undoRetry, DEFAULT_ATTEMPTS, {
      timeout: duration(`${at} undoTimeout`, options.undoTimeout, DEFAULT_TIMEOUT, 1),
    }),
    inDoubt: options.inDoubt ?? 'compensate',
    intent: options.intent ?? false,
  }
}

/** Milliseconds that a durable timer takes at most: three hundred years. */
export const LONGEST = 1e13

const inert = {
  transactional: false,
  pivot: false,
  intent: false,
  inDoubt: 'compensate',
  run: () => undefined,
} as const

/** A step that waits: for time, for an event, for another saga. It has no effect of its own to be in doubt about. */
export function planPause(
  name: string,
  afterPivot: boolean,
  pause: Pick<PlannedStep, 'kind' | 'sleep' | 'wait' | 'child'>,
): PlannedStep {
  const once = budget(name, undefined, 1, { timeout: DEFAULT_TIMEOUT })
  const isChild = pause.kind === 'child'
  return {
    ...inert,
    ...pause,
    name,
    // The engine undoes a child by unwinding it.
    compensate: isChild && !afterPivot ? () => undefined : undefined,
    forward: isChild && afterPivot ? { ...once, attempts: Infinity } : once,
    undo: { ...once, attempts: DEFAULT_ATTEMPTS },
  }
}

function budget(name: string, retry: StepRetry | undefined, attempts: number, rest: { timeout: number }): Budget {
  const given = retry?.attempts
  if (given !== undefined && given !== Infinity && !(Number.isSafeInteger(given) && given >= 1))
    throw new TypeError(`${name}.attempts must be a whole number from 1, or Infinity, not ${shown(given)}`)
  optionalFunction(`${name}.backoff`, retry?.backoff)
  optionalFunction(`${name}.shouldRetry`, retry?.shouldRetry)

  return {
    ...rest,
    attempts: given ?? attempts,
    backoff: retry?.backoff ?? defaultBackoff,
    shouldRetry: (outcome, attempt) => retry?.shouldRetry?.(outcome, attempt) ?? true,
  }
}

function spelled({ name, kind, transactional, pivot, group, when, child }: PlannedStep): string {
  const what = kind === 'step' && pivot ? 'pivot' : kind
  const together = group ? `/of ${group.start}-${group.end}` : ''
  const of = child ? `/${child.plan.name}` : ''
  return `${name}/${transactional ? 'tx' : ''}${what}${when ? '/when' : ''}${together}${of}`
}

/** Same steps, same hash (FNV-1a, 32 bits): code inside a step may change freely, the list of steps may not. */
export function shapeOf(steps: readonly PlannedStep[]): string {
  let hash = 0x811c9dc5
  for (const character of steps.map(spelled).join('\n')) {
    hash = Math.imul(hash ^ (character.codePointAt(0) as number), 0x01000193) >>> 0
  }
  return hash.toString(16).padStart(8, '0')
}
