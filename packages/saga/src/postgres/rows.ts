import type { StoredError } from '../errors.js'
import { toJson } from '../internal/json.js'
import type { Lanes, NewRecord, NewSaga, Progress, RecordRow, SagaRow, SagaStatus, Tags, Transition } from '../store.js'

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

/** A new saga is known to who made it, but for its times and its owner. */
export function bornOf(saga: NewSaga, now: number, owned: boolean): SagaRow {
  return {
    id: saga.id,
    name: saga.name,
    version: saga.version,
    shape: saga.shape,
    rev: 1,
    fence: 1,
    worker: owned ? saga.worker : undefined,
    claims: owned ? 1 : 0,
    token: undefined,
    key: saga.key,
    input: saga.input,
    output: undefined,
    tags: saga.tags,
    progress: saga.progress,
    deadlineIn: saga.deadline,
    createdAt: now,
    finishedAt: undefined,
    wakeAt: owned ? undefined : now + (saga.delay ?? 0),
    parent: saga.parent,
    lock: saga.lock,
    trace: saga.trace,
    nudges: 0,
    now,
    records: [],
  }
}

/** New sagas as the create statement reads them: an array literal for each column. */
export function birthsOf(sagas: readonly NewSaga[]): string[] {
  return literals(sagas, (saga) => {
    const { id, name, version, shape, key, input, tags, progress, worker, delay, deadline, parent, lock, trace } = saga
    const rest = parent === undefined && lock === undefined && trace === undefined ? undefined : { parent, lock, trace }
    return [
      ...[id, quoted(name), version, quoted(shape), quoted(key), quoted(input), quoted(toJson(tags)), progress.status],
      ...[worker, delay ?? 0, deadline, quoted(toJson(rest))],
    ]
  })
}

/** Transitions as the commit statement reads them: an array literal for each column. What most do not have is in the last. */
export function transitionsOf(batch: readonly Transition[]): string[] {
  return literals(batch, (transition) => {
    const { id, fence, rev, token, keep, finished, progress, output, record } = transition
    const { status, cursor, committed } = progress
    return [
      ...[id, fence, rev, token, keep, finished, status, cursor, committed, quoted(output)],
      ...[quoted(record?.name), record?.kind, record?.outcome, quoted(record?.output), record?.took],
      quoted(restOf(transition)),
    ]
  })
}

/** What a plain checkpoint has not, as JSON text; undefined for a plain one. Payloads are strings in it. */
function restOf({
  keep,
  claims,
  wakeIn,
  nudges,
  unwait,
  parent,
  lock,
  progress,
  record,
}: Transition): string | undefined {
  const { direction, attempt, delay, intent, cause, problem, cancel, lanes } = progress
  const usual = claims === (keep ? 1 : 0) && wakeIn === undefined && nudges === undefined
  const near = unwait === undefined && parent === undefined && lock === undefined
  const calm = direction === 'forward' && attempt === 0 && delay === 0 && !intent
  const well = cause === undefined && problem === undefined && cancel === undefined && lanes === undefined
  if (usual && near && calm && well && isPlain(record)) return undefined

  const { error, note, due, child } = record ?? {}
  return toJson({
    ...{ claims, wakeIn, nudges, unwait, parent, lock, attempt, delay, intent, cancel, due, child },
    ...{ backward: direction === 'backward', cause: toJson(cause), problem: toJson(problem), lanes: toJson(lanes) },
    ...{ tried: record?.attempt, error: toJson(error), note: toJson(note) },
  })
}

function isPlain(record: NewRecord | undefined): boolean {
  if (record === undefined) return true
  const { attempt, error, note, due, child } = record
  return attempt === 1 && error === undefined && note === undefined && due === undefined && child === undefined
}

type Element = string | number | boolean | undefined

/** Rows of elements as columns of array literals, which every driver takes for text. */
function literals<T>(items: readonly T[], elementsOf: (item: T) => readonly Element[]): string[] {
  let columns: string[] = []
  for (const item of items) {
    const elements = elementsOf(item)
    if (columns.length === 0) columns = elements.map((element) => `{${element ?? 'NULL'}`)
    else for (let i = 0; i < elements.length; i++) columns[i] += `,${elements[i] ?? 'NULL'}`
  }
  return columns.map((column) => `${column}}`)
}

/** An element that may have any character in it. */
function quoted(text: string | undefined): string | undefined {
  return text === undefined ? undefined : `"${/["\\]/.test(text) ? text.replace(/["\\]/g, '\\$&') : text}"`
}

function parsed<T>(text: string | null): T | undefined {
  return text === null ? undefined : (JSON.parse(text) as T)
}
