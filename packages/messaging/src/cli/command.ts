import { parseArgs } from 'node:util'

export const USAGE = `Usage: msx-messaging <command> [options]

  dead-letters <group>       what no attempt could handle, oldest first
    --type T --code C --limit N (default 100)
  redrive <group>            moves dead letters back to be handled again
    --type T --code C --id ID --limit N --rate N (per second) --dry-run
  outbox stats               how many events wait to be published
  outbox parked              events that could not be published, and why
    --limit N (default 100)
  outbox retry <id…> | --all has parked events published again
  asyncapi                   an AsyncAPI 3 document of the events
    --events FILE --title T --api-version V --out FILE

  --amqp URL                 default: $AMQP_URL
  --database URL             default: $DATABASE_URL
  --schema S                 default: msx_messaging
  --events FILE              the module of the catalogue: its export events, or default
  --json                     JSON instead of tables
  --help

Exit codes: 0 done, 1 refused, 2 not understood, 3 no answer.`

export type Command =
  | { readonly command: 'help' }
  | { readonly command: 'dead-letters'; readonly group: string; readonly filter: LetterFilter; readonly limit: number }
  | {
      readonly command: 'redrive'
      readonly group: string
      readonly filter: LetterFilter
      readonly limit: number | undefined
      readonly rate: number | undefined
      readonly dryRun: boolean
    }
  | { readonly command: 'outbox stats' }
  | { readonly command: 'outbox parked'; readonly limit: number }
  | { readonly command: 'outbox retry'; readonly ids: readonly string[] | 'all' }
  | {
      readonly command: 'asyncapi'
      readonly events: string
      readonly title: string
      readonly version: string
      readonly file: string | undefined
    }

export interface LetterFilter {
  readonly type?: string | undefined
  readonly code?: string | undefined
  readonly id?: string | undefined
}

export interface Invocation {
  readonly command: Command
  readonly amqp: string | undefined
  readonly database: string | undefined
  readonly schema: string
  readonly json: boolean
}

/** What was asked for cannot be understood. */
export class UsageError extends Error {}

const OPTIONS = {
  type: { type: 'string' },
  code: { type: 'string' },
  id: { type: 'string' },
  limit: { type: 'string' },
  rate: { type: 'string' },
  'dry-run': { type: 'boolean' },
  all: { type: 'boolean' },
  events: { type: 'string' },
  title: { type: 'string' },
  'api-version': { type: 'string' },
  out: { type: 'string' },
  amqp: { type: 'string' },
  database: { type: 'string' },
  schema: { type: 'string' },
  json: { type: 'boolean' },
  help: { type: 'boolean' },
} as const

/** Which options a command knows, besides those of all. */
const KNOWN: Readonly<Record<string, readonly string[]>> = {
  'dead-letters': ['type', 'code', 'limit'],
  redrive: ['type', 'code', 'id', 'limit', 'rate', 'dry-run'],
  'outbox stats': [],
  'outbox parked': ['limit'],
  'outbox retry': ['all'],
  asyncapi: ['events', 'title', 'api-version', 'out'],
}
const OF_ALL: readonly string[] = ['amqp', 'database', 'schema', 'json', 'help']
const SHOWN = 100

type Values = ReturnType<typeof parsed>['values']

/** @throws UsageError for what cannot be understood. */
export function parseCommand(argv: readonly string[], env: Readonly<Record<string, string | undefined>>): Invocation {
  const { values, positionals } = parsed(argv)
  const common = {
    amqp: values.amqp ?? env['AMQP_URL'],
    database: values.database ?? env['DATABASE_URL'],
    schema: values.schema ?? 'msx_messaging',
    json: values.json ?? false,
  }
  if (values.help || positionals.length === 0) {
    if (!values.help) throw new UsageError('which command?')
    return { command: { command: 'help' }, ...common }
  }

  const [first = '', second] = positionals
  const name = first === 'outbox' ? `outbox ${second ?? ''}`.trim() : first
  const known = KNOWN[name]
  if (known === undefined) throw new UsageError(`'${name}' is no command`)
  for (const option of Object.keys(values)) {
    if (!known.includes(option) && !OF_ALL.includes(option)) throw new UsageError(`${name} has no option --${option}`)
  }
  return { command: commandOf(name, positionals.slice(first === 'outbox' ? 2 : 1), values), ...common }
}

function parsed(argv: readonly string[]) {
  try {
    return parseArgs({ args: [...argv], options: OPTIONS, allowPositionals: true })
  } catch (error) {
    throw new UsageError((error as Error).message)
  }
}

function commandOf(name: string, rest: readonly string[], values: Values): Command {
  const { type, code, id } = values
  switch (name) {
    case 'dead-letters':
      return { command: name, group: only(name, rest), filter: { type, code }, limit: count(values, 'limit') ?? SHOWN }
    case 'redrive': {
      const [limit, rate, dryRun] = [count(values, 'limit'), count(values, 'rate'), values['dry-run'] ?? false]
      return { command: name, group: only(name, rest), filter: { type, code, id }, limit, rate, dryRun }
    }
    case 'outbox stats':
      none(name, rest)
      return { command: name }
    case 'outbox parked':
      none(name, rest)
      return { command: name, limit: count(values, 'limit') ?? SHOWN }
    case 'outbox retry':
      if (values.all !== true && rest.length === 0) throw new UsageError(`${name} needs ids, or --all`)
      if (values.all === true && rest.length > 0) throw new UsageError(`${name} takes ids or --all, not both`)
      for (const given of rest)
        if (!/^\d{1,19}$/.test(given)) throw new UsageError(`'${given}' is no id of a parked event`)
      return { command: name, ids: values.all === true ? 'all' : rest }
    default: {
      none(name, rest)
      const { events, title = 'Events', 'api-version': version = '1.0.0', out: file } = values
      if (events === undefined) throw new UsageError(`${name} needs --events, the module with the catalogue`)
      return { command: 'asyncapi', events, title, version, file }
    }
  }
}

function only(name: string, [group, extra]: readonly string[]): string {
  if (group === undefined) throw new UsageError(`${name} needs the name of a group`)
  if (extra !== undefined) throw new UsageError(`${name} does not take '${extra}'`)

  return group
}

function none(name: string, [extra]: readonly string[]): void {
  if (extra !== undefined) throw new UsageError(`${name} does not take '${extra}'`)
}

function count(values: Values, option: 'limit' | 'rate'): number | undefined {
  const text = values[option]
  if (text === undefined) return undefined
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new UsageError(`--${option} must be a whole number from 1, not '${text}'`)

  return Number(text)
}
