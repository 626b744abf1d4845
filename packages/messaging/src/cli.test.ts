import { type ExecFileException, execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest'
import { createBus } from './bus.js'
import { main } from './cli/main.js'
import { NonRetryableError } from './errors.js'
import { memory } from './memory/memory.js'
import { events, until } from './postgres/fixture.js'
import { createOutbox } from './postgres/outbox.js'
import { testBroker } from './rabbitmq/fixture.js'
import { POSTGRES_OF_TESTS, postgresDatabase } from './testing/databases.js'

const broker = await testBroker()
const database = await postgresDatabase()
let folder: string
let script: string

beforeAll(async () => {
  // In the package's folder, so that its dependencies are found.
  folder = await mkdtemp(fileURLToPath(new URL('../.cache-cli-', import.meta.url)))
  script = join(folder, 'cli.mjs')
  await build({
    entryPoints: [fileURLToPath(new URL('./cli.ts', import.meta.url))],
    outfile: script,
    bundle: true,
    packages: 'external',
    platform: 'node',
    format: 'esm',
    target: 'node20',
    logLevel: 'error',
  })
})
afterAll(async () => {
  await Promise.all([broker?.close(), database?.close(), rm(folder, { recursive: true, force: true })])
})

interface Run {
  readonly code: number
  readonly out: string
  readonly err: string
}

/** The command line as a process of its own. */
function run(...args: string[]): Promise<Run> {
  const env = { PATH: process.env['PATH'], AMQP_URL: broker?.url, DATABASE_URL: POSTGRES_OF_TESTS }

  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [script, ...args],
      { env, timeout: 20_000 },
      (error: ExecFileException | null, out, err) => {
        resolve({ code: typeof error?.code === 'number' ? error.code : error === null ? 0 : -1, out, err })
      },
    )
  })
}

test('--help fits a screen', async () => {
  const { code, out } = await run('--help')

  expect(code).toBe(0)
  expect(out).toContain('Usage: msx-messaging <command>')
  expect(out.split('\n').length).toBeLessThanOrEqual(26)
  expect(Math.max(...out.split('\n').map((line) => line.length))).toBeLessThanOrEqual(90)
})

test.each([
  [[], 'which command?'],
  [['letters'], "'letters' is no command"],
  [['outbox'], "'outbox' is no command"],
  [['dead-letters'], 'dead-letters needs the name of a group'],
  [['dead-letters', 'a', 'b'], "dead-letters does not take 'b'"],
  [['dead-letters', 'a', '--rate', '3'], 'dead-letters has no option --rate'],
  [['redrive', 'a', '--limit', '0'], "--limit must be a whole number from 1, not '0'"],
  [['outbox', 'retry'], 'outbox retry needs ids, or --all'],
  [['outbox', 'retry', 'x'], "'x' is no id of a parked event"],
  [['asyncapi'], 'asyncapi needs --events'],
  [['outbox', 'parked', '--colour'], '--colour'],
])('%j is not understood', async (args, problem) => {
  const said: string[] = []
  const nowhere = (): never => expect.fail('nobody is to be asked')
  const code = await main(args, {
    env: {},
    isTerminal: false,
    out: nowhere,
    err: (text) => said.push(text),
    transport: nowhere,
    database: nowhere,
    load: nowhere,
    write: nowhere,
  })

  expect(code).toBe(2)
  expect(said.join()).toContain(problem)
})

test('names the package that is missing', async () => {
  const said: string[] = []
  const code = await main(['outbox', 'stats', '--database', 'postgres://x'], {
    env: {},
    isTerminal: false,
    out: () => {},
    err: (text) => said.push(text),
    transport: () => expect.fail(),
    database: () => Promise.reject(new Error('the package pg is missing: npm install pg')),
    load: () => expect.fail(),
    write: () => expect.fail(),
  })

  expect([code, said]).toEqual([3, ['msx-messaging: the package pg is missing: npm install pg']])
})

/** What somebody may have written into an event to write on the screen of who looks at it. */
const HOSTILE = '\u001b]0;owned\u0007\u001b[31m\u009b2J\u202egnp\u2028\r\nM-1 all is well'

/** A database with one parked row, of a hostile publisher. */
function hostileDatabase() {
  const row = { id: '1', message_id: HOSTILE, type: HOSTILE, key: HOSTILE, body: JSON.stringify(HOSTILE), headers: {} }
  const failure = { attempts: 1, code: HOSTILE, reason: HOSTILE, at: 0, failed_at: 0 }
  const query = async (text: string) => {
    if (text.includes('UPDATE')) throw new Error(HOSTILE)
    return { rows: [{ ...row, ...failure }] }
  }

  return { query, connect: () => expect.fail(), end: async () => {} }
}

test.each([
  ['outbox', 'parked'],
  ['outbox', 'parked', '--json'],
  ['outbox', 'retry', '1'],
  ['outbox', HOSTILE],
])('%j writes nothing to the terminal that is not seen', async (...args) => {
  const said: string[] = []
  await main([...args, '--database', 'postgres://x'], {
    env: {},
    isTerminal: false,
    out: (text) => said.push(text),
    err: (text) => said.push(text),
    transport: () => expect.fail(),
    database: async () => hostileDatabase(),
    load: () => expect.fail(),
    write: () => expect.fail(),
  })

  expect(said.join('')).not.toMatch(/[^\P{Cc}\n]|\p{Cf}|\p{Zl}/u)
  expect(said.join('')).toContain('\\u001b[31m')
  // One line for one row, whatever is in it.
  if (args.length === 2 && args[1] === 'parked') expect(said.join('').split('\n')).toHaveLength(2)
  if (args.includes('--json')) expect(JSON.parse(said.join(''))).toMatchObject([{ key: HOSTILE, data: HOSTILE }])
})

test('prints dead letters although the data of one is nested deeper than the stack reaches', async () => {
  const transport = memory()
  const connection = await transport.connect({ name: 'tests' })
  onTestFinished(() => connection.close())
  await connection.declare({ name: 'g.dlq', patterns: [] })
  const [deep, deepest] = [100, 50_000].map((depth) => '['.repeat(depth) + ']'.repeat(depth))
  for (const [id, body] of Object.entries({ a: '{"n":1}', b: deepest, c: deep })) {
    await connection.send('g.dlq', { type: 'order.created', id, body: Buffer.from(body as string), headers: {} })
  }
  const out: string[] = []
  const err: string[] = []

  const code = await main(['dead-letters', 'g', '--json', '--amqp', 'amqp://x'], {
    env: {},
    isTerminal: false,
    out: (text) => out.push(text),
    err: (text) => err.push(text),
    transport: () => transport,
    database: () => expect.fail(),
    load: () => expect.fail(),
    write: () => expect.fail(),
  })

  expect([code, err]).toEqual([0, ['data of b left out: nested more than 100 deep']])
  const letters: { id: string; data: unknown }[] = JSON.parse(out.join(''))
  expect(letters.map(({ id }) => id)).toEqual(['a', 'b', 'c'])
  expect(letters.map(({ data }) => data)).toEqual([{ n: 1 }, undefined, JSON.parse(deep as string)])
})

test('says how far long work is, apart from what it prints', async () => {
  vi.useFakeTimers()
  onTestFinished(() => void vi.useRealTimers())
  const said: string[] = []
  const query = async (text: string) => {
    // Each page takes three seconds.
    await vi.advanceTimersByTimeAsync(3_000)
    if (text.startsWith('UPDATE')) return { rows: [{}] }
    const row = {
      id: '7',
      message_id: 'm',
      type: 't',
      key: null,
      body: '1',
      headers: {},
      attempts: 1,
      code: 'c',
      reason: 'r',
    }
    return { rows: said.length < 5 ? [{ ...row, at: 0, failed_at: 0 }] : [] }
  }
  await main(['outbox', 'retry', '--all', '--json', '--database', 'postgres://x'], {
    env: {},
    isTerminal: false,
    out: (text) => said.push(`out: ${text}`),
    err: (text) => said.push(text),
    transport: () => expect.fail(),
    database: async () => ({ query, connect: () => expect.fail(), end: async () => {} }),
    load: () => expect.fail(),
    write: () => expect.fail(),
  })

  expect(said.slice(0, 7)).toEqual([...Array(6).fill('0 so far'), '1 so far'])
  expect(JSON.parse(said.at(-1)?.slice(5) as string)).toEqual({ retried: 1 })
  expect(vi.getTimerCount()).toBe(0)
})

test('retries all that is parked page by page, and what is parked again meanwhile once', async () => {
  const asked: unknown[] = []
  const ids = Array.from({ length: 2_500 }, (_, n) => String(n + 1))
  const parked = { message_id: 'm', type: 't', key: null, body: '1', headers: {}, attempts: 1, code: 'c', reason: 'r' }
  const query = async (text: string, values: unknown[] = []) => {
    asked.push(text.startsWith('UPDATE') ? JSON.parse(values[0] as string).length : values)
    if (text.startsWith('UPDATE')) return { rows: JSON.parse(values[0] as string) }
    const from = Number(values[1])
    return { rows: ids.slice(from, from + 1_000).map((id) => ({ id, ...parked, at: 0, failed_at: 0 })) }
  }
  const said: string[] = []
  const code = await main(['outbox', 'retry', '--all', '--database', 'postgres://x'], {
    env: {},
    isTerminal: false,
    out: (text) => said.push(text),
    err: () => {},
    transport: () => expect.fail(),
    database: async () => ({ query, connect: () => expect.fail(), end: async () => {} }),
    load: () => expect.fail(),
    write: () => expect.fail(),
  })

  expect([code, said]).toEqual([0, ['2500 of 2500 to be published again']])
  expect(asked).toEqual([[1_000, '0'], 1_000, [1_000, '1000'], 1_000, [1_000, '2000'], 500, [1_000, '2500']])
})

test('asyncapi writes what a module exports', async () => {
  const module = join(folder, 'events.mjs')
  await writeFile(
    module,
    `import { z } from 'zod'
     export const events = { events: { 'order.created': { schema: z.object({ orderId: z.string() }) } } }`,
  )

  const printed = await run('asyncapi', '--events', module, '--title', 'Orders')
  expect(JSON.parse(printed.out)).toMatchObject({ asyncapi: '3.0.0', info: { title: 'Orders' } })
  const target = join(folder, 'asyncapi.json')
  const written = await run('asyncapi', '--events', module, '--out', target)
  expect([written.code, written.out]).toEqual([0, `wrote ${target}\n`])
  expect(JSON.parse(await readFile(target, 'utf8')).channels['order.created'].address).toBe('order.created')

  await writeFile(module, 'export const catalogue = 7')
  const wrong = await run('asyncapi', '--events', module)
  expect([wrong.code, wrong.err]).toEqual([2, expect.stringContaining('exports no catalogue')])
})

test('says that nobody answers', async () => {
  const noBroker = await run('dead-letters', 'g', '--amqp', 'amqp://127.0.0.1:1')
  expect([noBroker.code, noBroker.err]).toEqual([3, expect.stringContaining('could not connect to RabbitMQ')])

  const noDatabase = await run('outbox', 'stats', '--database', 'postgres://x@127.0.0.1:1/x')
  expect([noDatabase.code, noDatabase.err]).toEqual([3, expect.stringContaining('ECONNREFUSED')])

  const noUrl = await run('dead-letters', 'g', '--amqp', 'http://x')
  expect([noUrl.code, noUrl.err]).toEqual([2, expect.stringContaining('url must be an amqp: or amqps: URL')])
})

describe.skipIf(broker === undefined)('on RabbitMQ', () => {
  test('lists dead letters and moves those that are asked for', { timeout: 40_000 }, async () => {
    const { name, transport } = broker as NonNullable<typeof broker>
    const group = name('failing')
    const bus = createBus({ events, transport: transport(), source: 'tests' })
    onTestFinished(() => bus.close())
    const handled: string[] = []
    let isBroken = true
    let letters = 0
    bus.on('deadLetter', () => {
      letters += 1
    })
    bus.subscribe(group, ['note.made', 'order.created'], ({ id }) => {
      if (isBroken) throw new NonRetryableError(`no ink for ${id}`)
      handled.push(id)
    })
    await bus.publish('note.made', { text: 'a' }, { id: 'm-1' })
    await bus.publish('order.created', { orderId: 'o-1', n: 1 }, { id: 'm-2' })
    await until(() => letters === 2)

    const listed = await run('dead-letters', group)
    expect(listed.code).toBe(0)
    expect(listed.out.split('\n')[0]).toMatch(/^ID +EVENT +KEY +ATTEMPTS +FAILED +CODE +REASON$/)
    expect(listed.out).toMatch(/m-2 +order\.created +o-1 +1 +\S+ +MSX_NON_RETRYABLE +no ink for m-2/)
    const json = JSON.parse((await run('dead-letters', group, '--type', 'note.made', '--json')).out)
    expect(json).toMatchObject([{ id: 'm-1', data: { text: 'a' }, code: 'MSX_NON_RETRYABLE' }])

    expect((await run('redrive', group, '--dry-run')).out).toBe('2 would be moved, 0 left\n')
    isBroken = false
    expect((await run('redrive', group, '--id', 'm-2')).out).toBe('1 moved, 1 left\n')
    await until(() => handled.length === 1)
    expect(handled).toEqual(['m-2'])
    expect(JSON.parse((await run('redrive', group, '--json')).out)).toEqual({ moved: 1, left: 0 })
    await until(() => handled.length === 2)
    expect((await run('dead-letters', group)).out).toBe('no dead letters\n')
  })

  test('says that there is no such group', async () => {
    const { code, err } = await run('dead-letters', 'nobody-has-this-group')

    expect([code, err]).toEqual([1, "msx-messaging: there is no queue 'nobody-has-this-group.dlq'\n"])
  })
})

describe.skipIf(database === undefined)('on PostgreSQL', () => {
  test('shows what is parked, and has it published again', { timeout: 30_000 }, async () => {
    const { pool, schema: own } = database as NonNullable<typeof database>
    const schema = own()
    const outbox = createOutbox({ events, pool, schema })
    await outbox.migrate()
    await outbox.transaction((tx) => outbox.publish(tx, 'order.lost', { orderId: 'o-1' }))
    await outbox.transaction((tx) => outbox.publish(tx, 'note.made', { text: 'a' }))
    await pool.query(
      `UPDATE ${schema}.outbox SET state = 3, attempts = 5, code = 'MSX_UNROUTABLE', reason = 'nobody', failed_at = now() WHERE key = 'o-1'`,
    )

    const stats = await run('outbox', 'stats', '--schema', schema)
    expect(stats.out).toMatch(/READY +DELAYED +RETRYING +PARKED +HELD +LAG \(ms\)\n1 +0 +0 +1 +0 +\d+/)
    const parked = await run('outbox', 'parked', '--schema', schema)
    expect(parked.out).toMatch(/order\.lost +o-1 +5 +\S+ +MSX_UNROUTABLE +nobody/)
    const [row] = JSON.parse((await run('outbox', 'parked', '--schema', schema, '--json')).out)
    expect(row).toMatchObject({ type: 'order.lost', data: { orderId: 'o-1' } })

    expect((await run('outbox', 'retry', row.id, '--schema', schema)).out).toBe('1 of 1 to be published again\n')
    expect((await run('outbox', 'retry', '--all', '--schema', schema)).out).toBe('0 of 0 to be published again\n')
    expect((await run('outbox', 'parked', '--schema', schema)).out).toBe('nothing is parked\n')
  })
})
