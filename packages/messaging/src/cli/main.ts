import { asyncapi } from '../asyncapi.js'
import { createBus } from '../bus.js'
import { type Catalogue, defineEvents } from '../catalogue.js'
import type { DeadLetter } from '../dead-letter.js'
import { isMessagingError } from '../errors.js'
import { createOutbox, type Outbox } from '../postgres/outbox.js'
import type { Database } from '../shapes.js'
import type { Transport } from '../transport.js'
import { type Command, type Invocation, type LetterFilter, parseCommand, USAGE, UsageError } from './command.js'
import { oneLine, table, visible, visibleLines } from './table.js'

export interface Surroundings {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly isTerminal: boolean
  readonly out: (text: string) => void
  readonly err: (text: string) => void
  readonly transport: (url: string) => Transport
  readonly database: (url: string) => Promise<Database & { end(): Promise<void> }>
  readonly load: (file: string) => Promise<Record<string, unknown>>
  readonly write: (file: string, text: string) => Promise<void>
}

interface Answer {
  readonly json: unknown
  readonly text: string
}

/** How often long work says how far it is, in ms. */
const PROGRESS = 1_000

/** Codes that say that nobody answered, rather than that somebody refused. */
const NO_ANSWER: readonly string[] = ['MSX_CONNECTION_LOST', 'MSX_CONFIRM_TIMEOUT', 'MSX_PEER_MISSING']

/** Answers the exit code: 0 done, 1 refused, 2 not understood, 3 no answer. */
export async function main(argv: readonly string[], around: Surroundings): Promise<number> {
  const { env, out, err } = around
  try {
    const invocation = parseCommand(argv, env)
    const { command } = invocation
    if (command.command === 'help') {
      out(USAGE)
      return 0
    }

    const answer = await perform(command, invocation, around)
    out(invocation.json ? visibleLines(JSON.stringify(answer.json, null, 2)) : answer.text)
    return 0
  } catch (error) {
    if (error instanceof UsageError) {
      err(`msx-messaging: ${visible(error.message)}\n\n${USAGE}`)
      return 2
    }
    err(`msx-messaging: ${visible(messageOf(error))}`)
    // What it was given is of the wrong kind, such as a URL.
    if (error instanceof TypeError) return 2
    return isMessagingError(error) && !NO_ANSWER.includes(error.code) ? 1 : 3
  }
}

function perform(
  command: Exclude<Command, { command: 'help' }>,
  invocation: Invocation,
  around: Surroundings,
): Promise<Answer> {
  switch (command.command) {
    case 'dead-letters':
      return listLetters(command, invocation, around)
    case 'redrive':
      return redrive(command, invocation, around)
    case 'asyncapi':
      return describe(command, around)
    default:
      return onOutbox(command, invocation, around)
  }
}

type Of<Name extends Command['command']> = Extract<Command, { command: Name }>

async function listLetters(
  { group, filter, limit }: Of<'dead-letters'>,
  invocation: Invocation,
  around: Surroundings,
): Promise<Answer> {
  const letters: DeadLetter[] = []
  let looked = 0
  await saying(
    around,
    () => `${looked} looked at, ${letters.length} found so far`,
    () =>
      onBus(invocation, around, (bus) =>
        bus.redrive(group, {
          dryRun: true,
          limit,
          filter: (letter) => {
            looked += 1
            if (!matches(letter, filter)) return false
            letters.push(letter)
            return true
          },
        }),
      ),
  )

  const rows = letters.map(({ id, type, key, attempts, failedAt, code, reason }) => [
    id,
    type,
    key ?? '',
    String(attempts),
    failedAt?.toISOString() ?? '',
    code,
    oneLine(reason),
  ])
  const heads = ['ID', 'EVENT', 'KEY', 'ATTEMPTS', 'FAILED', 'CODE', 'REASON']
  const text = rows.length === 0 ? 'no dead letters' : table(heads, rows, around.isTerminal)

  return { json: invocation.json && withoutDeepData(letters, around), text }
}

async function redrive(
  { group, filter, limit, rate, dryRun }: Of<'redrive'>,
  invocation: Invocation,
  around: Surroundings,
): Promise<Answer> {
  let chosen = 0
  const result = await saying(
    around,
    () => `${chosen} chosen so far`,
    () =>
      onBus(invocation, around, (bus) =>
        bus.redrive(group, {
          limit,
          rate,
          dryRun,
          filter: (letter) => {
            const isChosen = matches(letter, filter)
            if (isChosen) chosen += 1
            return isChosen
          },
        }),
      ),
  )
  return { json: result, text: `${result.moved} ${dryRun ? 'would be ' : ''}moved, ${result.left} left` }
}

/** Nobody reads further, and JSON that is indented so far has more blanks than anything else. */
const DEEPEST = 100

/** Data of a hostile publisher may be nested deeper than can be printed at all, and is not to hide the rest. */
function withoutDeepData<T extends { readonly id: string; readonly data: unknown }>(
  items: readonly T[],
  { err }: Surroundings,
): readonly T[] {
  return items.map((item) => {
    if (!isDeep(item.data)) return item

    err(`data of ${visible(item.id)} left out: nested more than ${DEEPEST} deep`)
    return { ...item, data: undefined }
  })
}

function isDeep(data: unknown): boolean {
  let level = [data]
  for (let depth = 0; level.length > 0; depth += 1) {
    if (depth > DEEPEST) return true
    level = level.flatMap((value) => (typeof value === 'object' && value !== null ? Object.values(value) : []))
  }
  return false
}

/** Says how far long work is, where it does not get into what is printed. */
async function saying<T>({ err }: Surroundings, progress: () => string, work: () => Promise<T>): Promise<T> {
  const timer = setInterval(() => err(progress()), PROGRESS)
  try {
    return await work()
  } finally {
    clearInterval(timer)
  }
}

async function onOutbox(
  command: Of<'outbox stats' | 'outbox parked' | 'outbox retry'>,
  { database, schema, json }: Invocation,
  around: Surroundings,
): Promise<Answer> {
  if (database === undefined) throw new UsageError('which database? Give --database or set DATABASE_URL')

  const pool = await around.database(database)
  try {
    const outbox = createOutbox({ events: defineEvents({}), pool, schema })
    if (command.command === 'outbox stats') return await showStats(outbox, around)
    if (command.command === 'outbox parked') return await showParked(outbox, command.limit, json, around)

    const { asked, retried } = await retryParked(outbox, command.ids, around)
    return { json: { retried }, text: `${retried} of ${asked} to be published again` }
  } finally {
    await pool.end()
  }
}

type AnyOutbox = Outbox<Record<never, never>>

async function showStats(outbox: AnyOutbox, { isTerminal }: Surroundings): Promise<Answer> {
  const stats = await outbox.stats()
  const rows = [
    [stats.ready, stats.delayed, stats.retrying, stats.parked, stats.held, Math.round(stats.lag)].map(String),
  ]

  return { json: stats, text: table(['READY', 'DELAYED', 'RETRYING', 'PARKED', 'HELD', 'LAG (ms)'], rows, isTerminal) }
}

async function showParked(outbox: AnyOutbox, limit: number, asJson: boolean, around: Surroundings): Promise<Answer> {
  const parked = await outbox.parked({ limit })
  const rows = parked.map(({ id, type, key, attempts, failedAt, code, reason }) => [
    id,
    type,
    key ?? '',
    String(attempts),
    failedAt.toISOString(),
    code,
    oneLine(reason),
  ])
  const heads = ['ID', 'EVENT', 'KEY', 'ATTEMPTS', 'FAILED', 'CODE', 'REASON']

  const text = rows.length === 0 ? 'nothing is parked' : table(heads, rows, around.isTerminal)

  return { json: asJson && withoutDeepData(parked, around), text }
}

/** Page by page, from the oldest on: what is parked again meanwhile is not taken twice. */
async function retryParked(
  outbox: AnyOutbox,
  ids: readonly string[] | 'all',
  around: Surroundings,
): Promise<{ readonly asked: number; readonly retried: number }> {
  if (ids !== 'all') return { asked: ids.length, retried: await outbox.retry(ids) }

  let [asked, retried] = [0, 0]
  const retryPages = async (): Promise<void> => {
    for (let page = await parkedAfter(outbox, '0'); page.length > 0; page = await parkedAfter(outbox, page.at(-1))) {
      asked += page.length
      retried += await outbox.retry(page)
    }
  }
  await saying(around, () => `${retried} so far`, retryPages)
  return { asked, retried }
}

async function parkedAfter(outbox: AnyOutbox, after: string | undefined): Promise<readonly string[]> {
  return (await outbox.parked({ after })).map(({ id }) => id)
}

async function describe(
  { events: file, title, version, file: target }: Of<'asyncapi'>,
  around: Surroundings,
): Promise<Answer> {
  const document = asyncapi(catalogueIn(await around.load(file), file), { title, version })
  const text = JSON.stringify(document, null, 2)
  if (target === undefined) return { json: document, text: visibleLines(text) }

  await around.write(target, `${text}\n`)
  return { json: { file: target }, text: `wrote ${visible(target)}` }
}

function catalogueIn(module: Record<string, unknown>, file: string): Catalogue {
  for (const exported of [module['events'], module['default']]) {
    if (typeof exported === 'object' && exported !== null && 'events' in exported) return exported as Catalogue
  }
  throw new UsageError(`${file} exports no catalogue as events or by default`)
}

type AnyBus = ReturnType<typeof createBus<Record<never, never>>>

async function onBus<T>(
  { amqp }: Invocation,
  { transport }: Surroundings,
  work: (bus: AnyBus) => Promise<T>,
): Promise<T> {
  if (amqp === undefined) throw new UsageError('which broker? Give --amqp or set AMQP_URL')

  const bus = createBus({ events: defineEvents({}), transport: transport(amqp), source: 'msx-messaging' })
  try {
    return await work(bus)
  } finally {
    await bus.close()
  }
}

function matches(letter: DeadLetter, { type, code, id }: LetterFilter): boolean {
  return (
    (type === undefined || letter.type === type) &&
    (code === undefined || letter.code === code) &&
    (id === undefined || letter.id === id)
  )
}

function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  // A connection that was refused on every address says nothing by itself.
  const [first] = error instanceof AggregateError ? (error.errors as unknown[]) : []
  return error.message || (first instanceof Error ? first.message : error.name)
}
