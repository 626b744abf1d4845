import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parseCommand } from './cli/command.js'
import { main } from './cli/main.js'
import { createSagaEngine, type SagaEngine, saga } from './index.js'
import type { PostgresStore } from './postgres.js'
import { pgliteDatabase, type TestDatabase } from './testing/databases.js'

const NOW = Date.parse('2026-01-31T12:00:00Z')
const parse = (...argv: string[]) => parseCommand(argv, { DATABASE_URL: 'postgres://x', USER: 'ann' }, NOW)

describe('understands', () => {
  test.each<[string, object]>([
    ['list', { command: 'list', filter: {}, page: {}, schema: 'msx_saga', json: false, database: 'postgres://x' }],
    [
      'list --status stuck --name order --tag shop=a --tag x=y=z --started-after 12h --limit 5 --after abc --json',
      {
        filter: {
          status: 'stuck',
          name: 'order',
          tags: { shop: 'a', x: 'y=z' },
          startedAfter: new Date('2026-01-31T00:00Z'),
        },
        page: { limit: 5, after: 'abc' },
        json: true,
      },
    ],
    ['show i --database postgres://y --schema s', { command: 'show', id: 'i', database: 'postgres://y', schema: 's' }],
    [
      'resume i --do retry --rev 4 --reason r',
      { command: 'resume', id: 'i', decision: { do: 'retry', rev: 4, reason: 'r', by: 'ann' } },
    ],
    [
      'resume i --do complete --rev 4 --reason r --by bob --step s --result {"a":1}',
      { decision: { do: 'complete', rev: 4, reason: 'r', by: 'bob', step: 's', result: { a: 1 } } },
    ],
    ['cancel i --reason r', { command: 'cancel', id: 'i', reason: 'r' }],
    ['prune --before 30d', { finishedBefore: new Date('2026-01-01T12:00Z'), limit: 1_000 }],
    ['prune --before 2026-01-02 --limit 7', { finishedBefore: new Date('2026-01-02'), limit: 7 }],
    ['--help', { command: 'help' }],
  ])('%s', (line, expected) => {
    expect(parse(...line.split(' '))).toMatchObject(expected)
  })
})

describe('says what it does not understand', () => {
  test.each([
    ['', 'which command? One of list, show, resume, cancel, prune'],
    ['lists', "'lists' is no command, but list, show,"],
    ['list --status odd', '--status must be one of running,'],
    ['list --limit 0', '--limit must be a whole number from 1'],
    ['list --tag x', "--tag must be name=value, not 'x'"],
    ['list i', 'list does not take i'],
    ['list --reason r', 'list has no option --reason'],
    ['list --colour', 'colour'],
    ['show', 'show needs the id of a saga'],
    ['show i j', 'show does not take j'],
    ['resume i --do maybe --rev 1 --reason r', '--do must be one of retry,'],
    ['resume i --do retry --reason r', '--rev is missing'],
    ['resume i --do complete --rev 1 --reason r', '--result is missing'],
    ['resume i --do complete --rev 1 --reason r --result {', "--result must be JSON, not '{'"],
    ['cancel i', '--reason is missing'],
    ['prune --before soon', "--before must be a date or an age such as 30d, not 'soon'"],
  ])('%s', (line, message) => {
    expect(() => parse(...line.split(' ').filter(Boolean))).toThrow(message)
  })

  test('where there is no database', () => {
    expect(() => parseCommand(['list'], {}, NOW)).toThrow('which database?')
  })
})

describe('operates', { timeout: 30_000 }, () => {
  let database: TestDatabase
  let engine: SagaEngine
  let store: PostgresStore
  let broken = true
  const order = saga<{ n: number }>('order')
    .step('reserve', () => 'r', { compensate: () => undefined })
    .pivot('pay', () => 'p')
    .step(
      'ship',
      () => {
        if (broken) throw new Error('no van')
        return 'shipped'
      },
      { retry: { attempts: 1 } },
    )
    .returns(({ results }) => results.ship)

  beforeAll(async () => {
    database = await pgliteDatabase()
    store = await database.store()
    engine = createSagaEngine({ store, sagas: [order] })
    await engine.run()
  }, 60_000)
  afterAll(async () => {
    await engine.close()
    await database.close()
  })

  async function cli(...argv: string[]): Promise<{ code: number; out: string; err: string }> {
    let [out, err] = ['', '']
    const code = await main(['--schema', store.schema, ...argv], {
      env: { DATABASE_URL: 'x', USER: 'ann' },
      now: Date.now,
      out: (text) => {
        out += text
      },
      err: (text) => {
        err += text
      },
      connect: async () => ({
        query: (text, values) => database.pool.query(text, values),
        transaction: (run) => database.transaction(run),
        end: async () => undefined,
      }),
    })
    return { code, out, err }
  }

  test('on sagas whose definitions it does not have', async () => {
    const { id } = await engine.start(order, { n: 1 }, { key: 'k', tags: { shop: 'a' } })
    const { rev } = await engine.settled(id)

    const list = await cli('list', '--status', 'stuck', '--tag', 'shop=a')
    expect(list.out).toMatch(new RegExp(`^ID .*\\n${id} {2}order {2}stuck {3}ship \\(1 failed\\) +.* no van$`))
    const show = await cli('show', id)
    expect(show.out).toContain(`rev     ${rev}\nstep    ship\nkey     k`)
    expect(show.out).toContain('ship     in doubt')
    expect(show.out).toContain(`next    msx-saga resume ${id} --rev ${rev} --do`)
    expect(JSON.parse((await cli('show', id, '--json')).out)).toMatchObject({ id, rev, error: { message: 'no van' } })

    expect(await cli('cancel', id, '--reason', 'r')).toMatchObject({ code: 0, out: 'refused-after-pivot' })
    const stale = await cli('resume', id, '--do', 'skip', '--rev', String(rev + 1), '--reason', 'r')
    expect([stale.code, stale.err]).toEqual([1, expect.stringContaining(`is at rev ${rev}, not at ${rev + 1}`)])
    const wrong = await cli('resume', id, '--do', 'compensate', '--rev', String(rev), '--reason', 'r')
    expect([wrong.code, wrong.err]).toEqual([1, expect.stringContaining('past its pivot')])
    const done = await cli(
      'resume',
      id,
      '--do',
      'complete',
      '--result',
      '"by hand"',
      '--rev',
      String(rev),
      '--reason',
      'r',
    )
    expect(done).toMatchObject({ code: 0, out: `running at rev ${rev + 1}` })

    // The last step was completed here, and `returns` runs where the definition is.
    expect(await engine.settled(id)).toMatchObject({ status: 'completed', output: 'by hand' })
    expect((await engine.history(id)).at(-1)?.note).toEqual({ do: 'complete', by: 'ann', reason: 'r' })
  })

  test('cancels, prunes, and says what is not there', async () => {
    broken = false
    const { id } = await engine.start(order, { n: 2 }, { delay: 60_000 })

    expect((await cli('cancel', id, '--reason', 'r')).out).toBe('compensating')
    expect((await engine.settled(id)).status).toBe('cancelled')
    expect((await cli('prune', '--before', new Date(Date.now() + 60_000).toISOString(), '--json')).out).toContain(
      '"pruned"',
    )
    expect(await cli('show', id)).toMatchObject({ code: 1, err: `msx-saga: there is no saga ${id}` })
    expect((await cli('list')).out).toBe('no sagas')
    expect(await cli('lst')).toMatchObject({ code: 2, err: expect.stringMatching(/no command.*\nmsx-saga --help/) })
    const elsewhere = await cli('list', '--schema', 'nowhere')
    expect(elsewhere).toMatchObject({ code: 3, err: expect.stringContaining('no engine has migrated this schema') })
    expect((await cli('--help')).out).toContain('Usage: msx-saga')
  })

  test('shows what would move the cursor, and does not do it', async () => {
    const { id } = await engine.start(order, { n: 3 }, { delay: 60_000, key: '\x1b[2J\x9bk' })

    const { out } = await cli('show', id)
    expect(out).toContain('key     \\u001b[2J\\u009bk')
    expect(JSON.parse((await cli('show', id, '--json')).out)).toMatchObject({ key: '\x1b[2J\x9bk' })
    expect((await cli('show', '\x1b[2J')).err).toBe('msx-saga: there is no saga \\u001b[2J')
    await engine.cancel(id, { reason: 'r' })
  })

  test('says when the database does not answer', async () => {
    const lines: string[] = []
    const code = await main(['list'], {
      env: { DATABASE_URL: 'x' },
      now: Date.now,
      out: () => undefined,
      err: (text) => lines.push(text),
      connect: async () => {
        throw new AggregateError([new Error('connect ECONNREFUSED')])
      },
    })

    expect([code, lines]).toEqual([3, ['msx-saga: connect ECONNREFUSED']])
  })
})
