import { restoreError } from './errors.js'
import { fromJson } from './internal/json.js'
import type { Plan } from './plan.js'
import { currentStep } from './state.js'
import type { RecordRow, SagaRow, SagaStatus, Tags } from './store.js'

/** A saga as it can be looked at. */
export interface SagaView {
  readonly id: string
  readonly name: string
  readonly version: number
  /** Raised by each change; `resume` wants the one that was looked at. */
  readonly rev: number
  readonly status: SagaStatus
  /** The step that is next, running, being undone, or stuck; undefined when the saga is finished or its definition unknown here. */
  readonly step: string | undefined
  /** Failed attempts of that step. */
  readonly attempt: number
  readonly key: string | undefined
  readonly tags: Tags
  readonly input: unknown
  readonly output: unknown
  /** Why it is stuck, why it was unwound, or what the last failed attempt failed with. */
  readonly error: Error | undefined
  readonly createdAt: Date
  readonly finishedAt: Date | undefined
  /** When it is due next: a retry, a delayed start. */
  readonly wakeAt: Date | undefined
}

export interface Page<T> {
  readonly items: readonly T[]
  /** Give it as `after` for the next page; undefined at the end. */
  readonly next: string | undefined
}

/** One line of a saga's history. */
export interface StepRecord {
  readonly seq: number
  readonly name: string
  readonly kind: 'do' | 'undo' | 'sleep' | 'wait' | 'child' | 'operator'
  /** `started`: announced by `intent`, begun to wait, or tried again by an operator. */
  readonly outcome: 'ok' | 'failed' | 'in_doubt' | 'skipped' | 'started'
  readonly attempt: number
  readonly output: unknown
  readonly error: Error | undefined
  /** What an operator decided. */
  readonly note: { readonly do: string; readonly by: string; readonly reason: string } | undefined
  /** The saga that the step started. */
  readonly child: string | undefined
  /** Until when it waits at most. */
  readonly until: Date | undefined
  readonly startedAt: Date
  readonly at: Date
}

const FINISHED: ReadonlySet<SagaStatus> = new Set(['completed', 'compensated', 'cancelled', 'abandoned'])

export function viewOf(row: SagaRow, plan: Plan | undefined): SagaView {
  const { progress } = row
  const problem = progress.status === 'stuck' ? progress.problem : (progress.cause ?? progress.problem)
  return {
    id: row.id,
    name: row.name,
    version: row.version,
    rev: row.rev,
    status: progress.status,
    step: plan && !FINISHED.has(progress.status) ? currentStep(plan, progress) : undefined,
    attempt: progress.attempt,
    key: row.key,
    tags: row.tags,
    input: fromJson(row.input),
    output: fromJson(row.output),
    error: problem && restoreError(problem),
    createdAt: new Date(row.createdAt),
    finishedAt: row.finishedAt === undefined ? undefined : new Date(row.finishedAt),
    wakeAt: row.wakeAt === undefined ? undefined : new Date(row.wakeAt),
  }
}

export function recordOf({ took, at, output, error, note, due, child, ...record }: RecordRow): StepRecord {
  return {
    ...record,
    child,
    until: due === undefined ? undefined : new Date(at + due),
    output: fromJson(output),
    error: error && restoreError(error),
    note,
    startedAt: new Date(at - took),
    at: new Date(at),
  }
}

/** The history as text, one line per record. */
export function timelineOf(row: SagaRow): string {
  const end = row.finishedAt ?? row.records.at(-1)?.at ?? row.createdAt
  const head = `${row.name} ${row.id} ${row.progress.status} after ${Math.round(end - row.createdAt)} ms`
  const width = Math.max(0, ...row.records.map(({ name }) => name.length))

  const lines = row.records.map((record) => {
    const since = `+${Math.max(0, Math.round(record.at - record.took - row.createdAt))} ms`
    return `  ${since.padStart(10)}  ${record.name.padEnd(width)}  ${said(record)}`
  })
  return [head, ...lines].join('\n')
}

function said({ kind, outcome, attempt, took, error, note }: RecordRow): string {
  if (note) return `${note.do} by ${note.by}: ${note.reason}`

  const verb = kind === 'do' ? '' : `${kind} `
  const time = outcome === 'started' ? '' : ` in ${Math.round(took)} ms`
  const attempts = attempt > 1 ? `, attempt ${attempt}` : ''
  return `${verb}${outcome.replace('_', ' ')}${time}${attempts}${error ? `: ${error.message}` : ''}`
}
