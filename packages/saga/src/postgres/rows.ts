import type { StoredError } from '../errors.js'
import { toJson } from '../internal/json.js'
import type { Lanes, NewSaga, Progress, RecordRow, SagaRow, SagaStatus, Tags, Transition } from '../store.js'

/** A row as the statements select it: int8 and payloads as text, times as milliseconds. */
export interface SagaColumns {
  readonly id: string
  readonly name: string
  readonly version: number
  readonly shape: string
  readonly status: SagaStatus
  readonly backward: boolean
  readonly cursor: number
  readonly committed: boolean
  readonly attempt: number
  readonly delay: number
  readonly intent: boolean
  readonly cause: string | null
  readonly problem: string | null
  readonly cancel: string | null
  readonly rev: string
  readonly fence: string
  readonly worker: string | null
  readonly claims: number
  readonly token: string | null
  readonly wake_at: number | null
  readonly deadline_in: number | null
  readonly key: string | null
  readonly input: string | null
  readonly output: string | null
  readonly tags: string
  readonly created_at: number
  readonly finished_at: number | null
  readonly lanes: string | null
  readonly parent: string | null
  readonly lock: string | null
  readonly trace: string | null
  readonly nudges: number
  readonly now: number
  readonly records: string | null
}

interface RecordColumns extends Omit<RecordRow, 'output' | 'error' | 'note' | 'due' | 'child'> {
  readonly due: number | null
  readonly child: string | null
  readonly output: string | null
  readonly error: string | null
  readonly note: string | null
}

export function rowOf(row: SagaColumns): SagaRow {
  const progress: Progress = {
    status: row.status,
    direction: row.backward ? 'backward' : 'forward',
    cursor: row.cursor,
    committed: row.committed,
    attempt: row.attempt,
    delay: row.delay,
    intent: row.intent,
    cause: parsed<StoredError>(row.cause),
    problem: parsed<StoredError>(row.problem),
    cancel: row.cancel ?? undefined,
    lanes: parsed<Lanes>(row.lanes),
  }
  return {
    id: row.id,
    name: row.name,
    version: row.version,
    shape: row.shape,
    rev: Number(row.rev),
    fence: Number(row.fence),
    worker: row.worker ?? undefined,
    claims: row.claims,
    token: row.token ?? undefined,
    key: row.key ?? undefined,
    input: row.input ?? undefined,
    output: row.output ?? undefined,
    tags: parsed<Tags>(row.tags) ?? {},
    progress,
    deadlineIn: row.deadline_in ?? undefined,
    createdAt: row.created_at,
    finishedAt: row.finished_at ?? undefined,
    wakeAt: row.wake_at ?? undefined,
    parent: row.parent ?? undefined,
    lock: row.lock ?? undefined,
    trace: row.trace ?? undefined,
    nudges: row.nudges,
    now: row.now,
    records: (parsed<RecordColumns[]>(row.records) ?? []).map(recordOf),
  }
}

function recordOf({ output, error, note, due, child, ...record }: RecordColumns): RecordRow {
  return {
    ...record,
    due: due ?? undefined,
    child: child ?? undefined,
    output: output ?? undefined,
    error: parsed<StoredError>(error),
    note: parsed<NonNullable<RecordRow['note']>>(note),
  }
}

/** A new saga as the create statement reads it. */
export function newWireOf({ progress, tags, delay, ...saga }: NewSaga): object {
  return { ...saga, status: progress.status, tags: toJson(tags), delay: delay ?? 0 }
}

/** A transition as the commit statement reads it. */
export function wireOf({ progress, record, ...transition }: Transition): object {
  const { direction, cause, problem, lanes, ...rest } = progress
  return {
    ...transition,
    ...rest,
    backward: direction === 'backward',
    cause: toJson(cause),
    problem: toJson(problem),
    lanes: toJson(lanes),
    record: record && { ...record, error: toJson(record.error), note: toJson(record.note) },
  }
}

function parsed<T>(text: string | null): T | undefined {
  return text === null ? undefined : (JSON.parse(text) as T)
}
