import { parseArgs } from 'node:util'
import { shown } from '../internal/check.js'
import type { Resume } from '../intervene.js'
import type { SagaStatus } from '../store.js'

export const USAGE = `Usage: msx-saga <command> [options]

  list                     sagas, from the newest to the oldest
    --status S --name N --tag K=V (repeatable) --started-after T --started-before T --limit N --after ID
  show <id>                one saga: where it is, what happened, the rev that resume wants
  resume <id>              decide about a stuck saga
    --do retry|skip|complete|compensate|abandon --rev N --reason R
    --step S (default: where it is stuck) --by B (default: you) --result JSON (for complete)
  cancel <id> --reason R   unwind a saga that is not past its pivot
  prune --before T         delete sagas that finished before
    --limit N (default 1000)

  T is a date, or an age such as 90m, 12h, 30d.

  --database URL           default: $DATABASE_URL
  --schema S               default: msx_saga
  --json                   JSON instead of tables
  --help`

export type Command =
  | { readonly command: 'help' }
  | {
      readonly command: 'list'
      readonly filter: {
        readonly status?: SagaStatus
        readonly name?: string
        readonly tags?: Record<string, string>
        readonly startedAfter?: Date
        readonly startedBefore?: Date
      }
      readonly page: { readonly limit?: number; readonly after?: string }
    }
  | { readonly command: 'show'; readonly id: string }
  | {
      readonly command: 'resume'
      readonly id: string
      readonly decision: Omit<Resume, 'step'> & { readonly step?: string }
    }
  | { readonly command: 'cancel'; readonly id: string; readonly reason: string }
  | { readonly command: 'prune'; readonly finishedBefore: Date; readonly limit: number }

export type Invocation = Command & { readonly database: string; readonly schema: string; readonly json: boolean }

/** What was asked for cannot be understood. */
export class UsageError extends Error {}

const OPTIONS = {
  status: { type: 'string' },
  name: { type: 'string' },
  tag: { type: 'string', multiple: true },
  'started-after': { type: 'string' },
  'started-before': { type: 'string' },
  limit: { type: 'string' },
  after: { type: 'string' },
  do: { type: 'string' },
  step: { type: 'string' },
  by: { type: 'string' },
  reason: { type: 'string' },
  rev: { type: 'string' },
  result: { type: 'string' },
  before: { type: 'string' },
  database: { type: 'string' },
  schema: { type: 'string' },
  json: { type: 'boolean' },
  help: { type: 'boolean' },
} as const

/** Which options a command knows, besides those of all. */
const KNOWN: Readonly<Record<string, readonly string[]>> = {
  list: ['status', 'name', 'tag', 'started-after', 'started-before', 'limit', 'after'],
  show: [],
  resume: ['do', 'step', 'by', 'reason', 'rev', 'result'],
  cancel: ['reason'],
  prune: ['before', 'limit'],
}
const STATUSES = ['running', 'waiting', 'compensating', 'completed', 'compensated', 'cancelled', 'stuck', 'abandoned']
const DECISIONS = ['retry', 'skip', 'complete', 'compensate', 'abandon']
const AGES: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }

type Values = ReturnType<typeof parsed>['values']

function parsed(argv: readonly string[]) {
  try {
    return parseArgs({ args: [...argv], options: OPTIONS, allowPositionals: true })
  } catch (error) {
    throw new UsageError((error as Error).message)
  }
}

/** @throws UsageError for what cannot be understood. */
export function parseCommand(
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
  now: number,
): Invocation {
  const { values, positionals } = parsed(argv)
  const [name, id, ...rest] = positionals
  const common = { schema: values.schema ?? 'msx_saga', json: values.json ?? false }
  if (values.help || name === 'help') return { ...common, command: 'help', database: '' }

  const known = KNOWN[name ?? '']
  if (name === undefined) throw new UsageError(`which command? One of ${Object.keys(KNOWN).join(', ')}`)
  if (known === undefined)
    throw new UsageError(`${shown(name)} is no command, but ${Object.keys(KNOWN).join(', ')} are`)
  for (const option of Object.keys(values))
    if (!['database', 'schema', 'json', ...known].includes(option))
      throw new UsageError(`${name} has no option --${option}`)
  const takesId = name === 'show' || name === 'resume' || name === 'cancel'
  if (takesId && id === undefined) throw new UsageError(`${name} needs the id of a saga`)
  if (rest.length > 0 || (!takesId && id !== undefined))
    throw new UsageError(`${name} does not take ${positionals.slice(takesId ? 2 : 1).join(' ')}`)

  const database = values.database ?? env['DATABASE_URL']
  if (database === undefined) throw new UsageError('which database? Give --database or set DATABASE_URL')
  return { ...common, database, ...commandOf(name, id ?? '', values, env, now) }
}

function commandOf(
  name: string,
  id: string,
  values: Values,
  env: Readonly<Record<string, string | undefined>>,
  now: number,
): Command {
  switch (name) {
    case 'list': {
      const { status, tag, after } = values
      const startedAfter = values['started-after']
      const startedBefore = values['started-before']
      return {
        command: 'list',
        filter: {
          ...(status !== undefined && { status: oneOf('--status', status, STATUSES) as SagaStatus }),
          ...(values.name !== undefined && { name: values.name }),
          ...(tag && { tags: Object.fromEntries(tag.map(tagOf)) }),
          ...(startedAfter !== undefined && { startedAfter: timeOf('--started-after', startedAfter, now) }),
          ...(startedBefore !== undefined && { startedBefore: timeOf('--started-before', startedBefore, now) }),
        },
        page: {
          ...(values.limit !== undefined && { limit: wholeOf('--limit', values.limit) }),
          ...(after !== undefined && { after }),
        },
      }
    }
    case 'resume': {
      const what = oneOf('--do', needed('--do', values.do), DECISIONS)
      const base = {
        by: needed('--by', values.by ?? env['USER']),
        reason: needed('--reason', values.reason),
        rev: wholeOf('--rev', needed('--rev', values.rev)),
        ...(values.step !== undefined && { step: values.step }),
      }
      const result = what === 'complete' ? { result: jsonOf(needed('--result', values.result)) } : {}
      return { command: 'resume', id, decision: { ...base, do: what, ...result } as Resume }
    }
    case 'cancel':
      return { command: 'cancel', id, reason: needed('--reason', values.reason) }
    case 'prune':
      return {
        command: 'prune',
        finishedBefore: timeOf('--before', needed('--before', values.before), now),
        limit: values.limit === undefined ? 1_000 : wholeOf('--limit', values.limit),
      }
    default:
      return { command: 'show', id }
  }
}

function needed(option: string, value: string | undefined): string {
  if (value === undefined || value === '') throw new UsageError(`${option} is missing`)
  return value
}

function oneOf(option: string, value: string, allowed: readonly string[]): string {
  if (!allowed.includes(value)) throw new UsageError(`${option} must be one of ${allowed.join(', ')}, not '${value}'`)
  return value
}

function wholeOf(option: string, value: string): number {
  if (!/^[1-9]\d{0,14}$/.test(value)) throw new UsageError(`${option} must be a whole number from 1, not '${value}'`)
  return Number(value)
}

function tagOf(tag: string): [string, string] {
  const [, name, value] = /^([^=]+)=(.*)$/s.exec(tag) ?? []
  if (name === undefined || value === undefined) throw new UsageError(`--tag must be name=value, not '${tag}'`)
  return [name, value]
}

function timeOf(option: string, value: string, now: number): Date {
  const [, amount, unit] = /^(\d{1,9})([smhd])$/.exec(value) ?? []
  const time = amount === undefined ? Date.parse(value) : now - Number(amount) * (AGES[unit as string] as number)
  if (Number.isNaN(time)) throw new UsageError(`${option} must be a date or an age such as 30d, not '${value}'`)
  return new Date(time)
}

function jsonOf(value: string): unknown {
  try {
    return JSON.parse(value)
  } catch {
    throw new UsageError(`--result must be JSON, not '${value}'`)
  }
}
