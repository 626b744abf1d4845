import type { StoredError } from './errors.js'
import { fromJson } from './internal/json.js'
import { type Group, type Plan, type PlannedStep, RETURNS } from './plan.js'
import type { Counter, Lanes, NewRecord, Progress } from './store.js'

/** What the records say of one step. */
export interface Mark {
  readonly state: 'applied' | 'in-doubt' | 'not-applied' | 'skipped' | 'undone' | 'waiting'
  readonly output?: string | undefined
  readonly error?: StoredError | undefined
  /** Of one that waits: until when, in epoch milliseconds by the store's clock. */
  readonly dueAt?: number | undefined
  /** The last saga that the step started, and how many it has. */
  readonly child?: string | undefined
  readonly children?: number | undefined
}

export type Marks = ReadonlyMap<string, Mark>

export interface State {
  readonly id: string
  readonly input: string | undefined
  readonly progress: Progress
  readonly marks: Marks
  /** An earlier owner may have begun the step at the cursor, and did not live to say. */
  readonly begunBefore: boolean
}

export const FRESH: Progress = {
  status: 'running',
  direction: 'forward',
  cursor: 0,
  committed: false,
  attempt: 0,
  delay: 0,
  intent: false,
}

const ZERO: Counter = { attempt: 0, delay: 0, intent: false }
const NO_LANES: Lanes = { counters: {} }

export function isFinished({ status }: Progress): boolean {
  return status === 'completed' || status === 'compensated' || status === 'cancelled' || status === 'abandoned'
}

/** At rest until somebody does something: finished or stuck. */
export function isAtRest(progress: Progress): boolean {
  return progress.status === 'stuck' || isFinished(progress)
}

/** Whether its status is one that this version has: a newer one may have others. */
export function isKnown(progress: Progress): boolean {
  const { status } = progress
  return status === 'running' || status === 'waiting' || status === 'compensating' || isAtRest(progress)
}

/** Why a saga is stuck that is due, and of a version that nobody here has. */
export function unknownVersion({ name, version }: { readonly name: string; readonly version: number }): StoredError {
  return {
    name: 'Error',
    message: `no worker takes saga '${name}' version ${version}: start one that has this version`,
  }
}

/** As it was before it was parked. */
export function unparked(progress: Progress): Progress {
  return { ...progress, status: progress.direction === 'forward' ? 'running' : 'compensating', problem: undefined }
}

/** Where it is, in the operator's words. */
export function currentStep(plan: Plan, { cursor, direction, lanes }: Progress): string {
  return (direction === 'forward' ? lanes?.failing?.step : undefined) ?? plan.steps[cursor]?.name ?? RETURNS
}

/** The state after a record, which the store wrote at `at`. */
export function mark(marks: Marks, record: NewRecord, at: number): Marks {
  const after = markAfter(record, marks.get(record.name), at)
  return after ? new Map(marks).set(record.name, after) : marks
}

export function markInto(marks: Map<string, Mark>, record: NewRecord, at: number): void {
  const after = markAfter(record, marks.get(record.name), at)
  if (after) marks.set(record.name, after)
}

function markAfter(record: NewRecord, before: Mark | undefined, at: number): Mark | undefined {
  const { kind, outcome, output, error, note, due, child } = record
  const kept = before?.child === undefined ? undefined : { child: before.child, children: before.children }
  if (kind === 'undo') return outcome === 'ok' || outcome === 'skipped' ? { state: 'undone' } : undefined
  if (kind === 'operator' && note?.do !== 'complete' && note?.do !== 'skip' && note?.do !== 'compensate')
    return undefined

  switch (outcome) {
    case 'ok':
      return { state: 'applied', output, ...kept }
    case 'in_doubt':
      return { state: 'in-doubt', error, ...kept }
    case 'failed':
      return { state: 'not-applied', ...kept }
    case 'skipped':
      return { state: 'skipped' }
    case 'started':
      if (kind === 'do' || kind === 'operator') return undefined
      return {
        state: 'waiting',
        ...(due !== undefined && { dueAt: at + due }),
        ...(child !== undefined && { child, children: (before?.children ?? 0) + 1 }),
      }
  }
}

/** The state after a record, whose marks are made when somebody wants them. */
export class After implements State {
  readonly id: string
  readonly input: string | undefined
  readonly progress: Progress
  readonly begunBefore: boolean
  readonly #before: Marks
  readonly #record: NewRecord
  #marks: Marks | undefined

  constructor(before: State, progress: Progress, record: NewRecord) {
    this.id = before.id
    this.input = before.input
    this.progress = progress
    this.begunBefore = before.begunBefore
    this.#before = before.marks
    this.#record = record
  }

  get marks(): Marks {
    this.#marks ??= mark(this.#before, this.#record, 0)
    return this.#marks
  }
}

/** The results of the steps before this one, by name, or of all: branches do not see each other's. */
export function resultsOf(plan: Plan, marks: Marks, before?: PlannedStep): Readonly<Record<string, unknown>> {
  const results: Record<string, unknown> = Object.create(null)
  for (const step of plan.steps) {
    if (before && (step.name === before.name || (step.group && step.group === before.group))) break
    const { name, kind } = step
    const known = marks.get(name)
    if (known?.state === 'applied' && kind !== 'sleep') results[name] = fromJson(known.output)
  }
  return Object.freeze(results)
}

/** What the step is known to be; a branch that a dead process may have begun is in doubt until a record says better. */
export function stateOf({ marks, progress }: State, { name, kind }: PlannedStep): Mark['state'] | undefined {
  const known = marks.get(name)?.state
  if (known !== undefined && known !== 'waiting') return known
  return kind === 'step' && progress.lanes?.doubt?.includes(name) ? 'in-doubt' : known
}

export function isWaiting({ marks }: State, { name }: PlannedStep): boolean {
  return marks.get(name)?.state === 'waiting'
}

function isSettled({ marks }: State, { name }: PlannedStep): boolean {
  const known = marks.get(name)?.state
  return known === 'applied' || known === 'skipped'
}

/** The branches of a group that are still to be done. */
export function openBranches(plan: Plan, state: State, { start, end }: Group): readonly PlannedStep[] {
  return plan.steps.slice(start, end).filter((step) => !isSettled(state, step))
}

/** The counters of a step: its own in a group, those of the saga otherwise. */
export function counterOf({ direction, lanes, attempt, delay, intent }: Progress, step: PlannedStep): Counter {
  if (step.group && direction === 'forward') return ownCounter(lanes, step.name) ?? ZERO
  return { attempt, delay, intent }
}

/** A branch may have the name of something that every object has, such as `constructor`. */
function ownCounter(lanes: Lanes | undefined, branch: string): Counter | undefined {
  return lanes && Object.hasOwn(lanes.counters, branch) ? lanes.counters[branch] : undefined
}

export function withCounter(progress: Progress, step: PlannedStep, counter: Counter): Progress {
  if (!step.group || progress.direction === 'backward') return { ...progress, ...counter }

  const lanes = progress.lanes ?? NO_LANES
  return { ...progress, lanes: { ...lanes, counters: { ...lanes.counters, [step.name]: counter } } }
}

/** The counters of the step, back to nothing. */
export function settled(progress: Progress, step?: PlannedStep): Progress {
  if (!step?.group || progress.direction === 'backward') return { ...progress, ...ZERO, problem: undefined }

  const { [step.name]: _, ...counters } = progress.lanes?.counters ?? {}
  return { ...progress, lanes: { ...progress.lanes, counters } }
}

/** A cancel was accepted, which is never done once the pivot is: what runs still ends, and then it turns round. */
export function isCancelled(progress: Progress): progress is Progress & { readonly cancel: string } {
  return progress.cancel !== undefined && !progress.committed
}

/** A group is to end, though not all of its branches have. */
export function isTurning(progress: Progress): boolean {
  return isCancelled(progress) || progress.lanes?.failing !== undefined
}
