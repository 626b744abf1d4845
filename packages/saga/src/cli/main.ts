import { createSagaEngine, type SagaEngine } from '../engine.js'
import { isSagaConflictError, isSagaNotFoundError } from '../errors.js'
import type { Resume } from '../intervene.js'
import { postgresStore } from '../postgres.js'
import type { Database } from '../shapes.js'
import type { SagaView } from '../view.js'
import { type Command, parseCommand, USAGE, UsageError } from './command.js'

export interface Surroundings {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly out: (text: string) => void
  readonly err: (text: string) => void
  readonly now: () => number
  /** Opens a database by its URL. */
  connect(url: string): Promise<Database & { end(): Promise<void> }>
}

/** SQLSTATE undefined_table. */
const UNKNOWN_TABLE = '42P01'

/** Answers the exit code: 0 done, 1 refused, 2 not understood, 3 the database did not answer. */
export async function main(argv: readonly string[], surroundings: Surroundings): Promise<number> {
  const { env, now, connect } = surroundings
  const out = (text: string): void => surroundings.out(printable(text))
  const err = (text: string): void => surroundings.err(printable(text))
  try {
    const invocation = parseCommand(argv, env, now())
    if (invocation.command === 'help') {
      out(USAGE)
      return 0
    }

    const pool = await connect(invocation.database)
    try {
      const engine = createSagaEngine({ store: postgresStore({ pool, schema: invocation.schema }), sagas: [] })
      const answer = await perform(engine, invocation)
      out(invocation.json ? JSON.stringify(answer.json, plainErrors, 2) : answer.text)
      return 0
    } finally {
      await pool.end()
    }
  } catch (error) {
    const usage = error instanceof UsageError
    err(`msx-saga: ${messageOf(error)}${usage ? '\nmsx-saga --help says what there is' : ''}`)
    if (usage) return 2
    return isSagaConflictError(error) || isSagaNotFoundError(error) ? 1 : 3
  }
}

/** What services wrote into keys, errors and payloads must not move the cursor of an operator, or colour what he reads. */
function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: those are what it is about
  return text.replace(/[\0-\x09\x0b-\x1f\x7f-\x9f]/g, (control) => {
    return `\\u${control.charCodeAt(0).toString(16).padStart(4, '0')}`
  })
}

interface Answer {
  readonly json: unknown
  readonly text: string
}

async function perform(engine: SagaEngine, command: Exclude<Command, { command: 'help' }>): Promise<Answer> {
  switch (command.command) {
    case 'list': {
      const page = await engine.list(command.filter, command.page)
      const more = page.next === undefined ? '' : `\n\nmore: --after ${page.next}`
      return { json: page, text: `${tableOf(page.items)}${more}` }
    }
    case 'show': {
      const { id } = command
      const [view, history, timeline] = [await viewed(engine, id), await engine.history(id), await engine.timeline(id)]
      return { json: { ...view, history }, text: `${timeline}\n\n${detailsOf(view)}` }
    }
    case 'resume': {
      const { id, decision } = command
      const step = decision.step ?? (await viewed(engine, id)).step ?? ''
      const view = await engine.resume(id, { ...decision, step } as Resume)
      return { json: view, text: `${view.status} at rev ${view.rev}` }
    }
    case 'cancel': {
      const answer = await engine.cancel(command.id, { reason: command.reason })
      return { json: answer, text: answer }
    }
    case 'prune': {
      const pruned = await engine.prune(command)
      return { json: { pruned }, text: `${pruned} deleted` }
    }
  }
}

async function viewed(engine: SagaEngine, id: string): Promise<SagaView> {
  const view = await engine.get(id)
  // Its own words, and its own exit code.
  if (!view) await engine.history(id)
  return view as SagaView
}

function tableOf(views: readonly SagaView[]): string {
  if (views.length === 0) return 'no sagas'

  const rows = views.map(({ id, name, status, step, attempt, createdAt, error }) => [
    id,
    name,
    status,
    step === undefined ? '' : attempt > 0 ? `${step} (${attempt} failed)` : step,
    createdAt.toISOString(),
    oneLine(error?.message ?? ''),
  ])
  const table = [['ID', 'SAGA', 'STATUS', 'STEP', 'STARTED', 'ERROR'], ...rows]
  const widths = (table[0] as string[]).map((_, i) => Math.max(...table.map((row) => (row[i] as string).length)))
  return table
    .map((row) =>
      row
        .map((cell, i) => cell.padEnd(widths[i] as number))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

function detailsOf(view: SagaView): string {
  const { id, rev, status, step, key, tags, input, output, error, wakeAt } = view
  const lines: [string, unknown][] = [
    ['rev', rev],
    ['step', step],
    ['key', key],
    ['tags', Object.keys(tags).length > 0 ? JSON.stringify(tags) : undefined],
    ['due', wakeAt?.toISOString()],
    ['input', JSON.stringify(input)],
    ['output', JSON.stringify(output)],
    ['error', error && oneLine(error.message)],
    ['next', status === 'stuck' ? `msx-saga resume ${id} --rev ${rev} --do … --reason …` : undefined],
  ]
  return lines
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${name.padEnd(7)} ${value}`)
    .join('\n')
}

function oneLine(text: string): string {
  const line = text.replaceAll(/\s+/g, ' ')
  return line.length > 80 ? `${line.slice(0, 79)}…` : line
}

function plainErrors(_key: string, value: unknown): unknown {
  if (!(value instanceof Error)) return value

  const { name, message, cause } = value
  const { code } = value as { code?: unknown }
  return { name, message, code, cause }
}

function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  if ((error as { code?: unknown }).code === UNKNOWN_TABLE)
    return `${error.message}: no engine has migrated this schema of this database (--schema, --database)`
  // A connection that was refused on every address says nothing by itself.
  const [first] = error instanceof AggregateError ? error.errors : []
  return error.message || (first instanceof Error ? first.message : error.name)
}
