import { afterAll, describe, expect, onTestFinished, test } from 'vitest'
import { createBus } from '../bus.js'
import { memory } from '../memory/memory.js'
import { openPool, POSTGRES_OF_TESTS, postgresDatabase } from '../testing/databases.js'
import { events } from './fixture.js'
import { inbox } from './inbox.js'
import { createOutbox } from './outbox.js'
import { wiretapOn } from './wiretap.js'

const database = await postgresDatabase()
afterAll(() => database?.close())

describe.skipIf(database === undefined)('on the wire to PostgreSQL', { timeout: 30_000 }, () => {
  async function tapped() {
    const schema = (database as NonNullable<typeof database>).schema()
    const tap = await wiretapOn(POSTGRES_OF_TESTS)
    const pool = openPool(tap.url, 3)
    onTestFinished(async () => {
      await pool.end()
      await tap.close()
    })
    const outbox = createOutbox({ events, pool, schema })
    await outbox.migrate()
    tap.statements.length = 0
    return { outbox, pool, schema, tap }
  }

  test('any number of events is one statement in the transaction of the caller', async () => {
    const { outbox, tap } = await tapped()

    await outbox.transaction(async (tx) => {
      await tx.query('SELECT 1')
      const batch = Array.from({ length: 3_000 }, (_, n) => ({ type: 'note.made', data: { text: `${n}` } }) as const)
      await outbox.publishMany(tx, batch)
    })

    expect(tap.statements.map((text) => text.split(/[ (]/, 2).join(' '))).toEqual([
      'BEGIN',
      'SELECT 1',
      'INSERT INTO',
      'COMMIT',
    ])
    expect((await outbox.stats()).ready).toBe(3_000)
  })

  test('a handled event is one statement beside those of its handler, and a duplicate one alone', async () => {
    const { pool, schema, tap } = await tapped()
    const broker = memory()
    const bus = createBus({ events, transport: broker, source: 'tests', use: [inbox({ pool, schema })] })
    onTestFinished(() => bus.close())
    bus.subscribe('notes', 'note.made', async ({ data }, { tx }) => {
      await tx?.query('SELECT $1::text', [data.text])
    })

    const said = async (): Promise<string[]> => {
      tap.statements.length = 0
      await bus.publish('note.made', { text: 'a' }, { id: 'm-1' })
      await broker.drain()
      return tap.statements.map((text) => text.replace(`"${schema}".`, '').replace(/ \(.*/, ''))
    }

    expect(await said()).toEqual(['BEGIN', 'INSERT INTO inbox', 'SELECT $1::text', 'COMMIT'])
    expect(await said()).toEqual(['BEGIN', 'INSERT INTO inbox', 'COMMIT'])
  })

  test('a relay reads, publishes and deletes a batch with two statements', async () => {
    const { outbox, tap } = await tapped()
    const bus = createBus({ events, transport: memory(), source: 'tests' })
    onTestFinished(() => bus.close())
    bus.subscribe('notes', 'note.made', () => {})
    await bus.start()
    const batch = Array.from({ length: 10_000 }, (_, n) => ({ type: 'note.made', data: { text: `${n}` } }) as const)
    await outbox.transaction((tx) => outbox.publishMany(tx, batch))
    tap.statements.length = 0

    const relay = outbox.relay(bus, { batch: 500 })
    await new Promise<void>((resolve) => {
      relay.on('relayed', () => {
        if (relay.snapshot().relayed === 10_000) resolve()
      })
    })
    const counted = (word: RegExp): number => tap.statements.filter((text) => word.test(text)).length
    await relay.close()

    // 20 batches; a few more where deleting and reading did not meet.
    expect(counted(/^\s*DELETE/)).toBeLessThanOrEqual(40)
    expect(counted(/o\.body/)).toBeLessThanOrEqual(60)
    expect(counted(/^\s*UPDATE/)).toBe(0)
  })
})
