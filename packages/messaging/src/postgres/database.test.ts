import { afterAll, describe, expect, onTestFinished, test, vi } from 'vitest'
import { createBus } from '../bus.js'
import { memory } from '../memory/memory.js'
import { pgliteDatabase, postgresDatabase, type TestDatabase } from '../testing/databases.js'
import { transactOf } from './database.js'
import { events } from './fixture.js'
import { inbox } from './inbox.js'

const databases: TestDatabase[] = [await pgliteDatabase(), await postgresDatabase()].filter((one) => one !== undefined)
vi.setConfig({ testTimeout: 30_000 })
afterAll(() => Promise.all(databases.map((database) => database.close())))

describe.each(databases.map((database) => [database.name, database] as const))('a transaction on %s', (_, database) => {
  const transact = transactOf('tests', database.pool)

  test('rejects when the database rolled it back, as it does when the error of a statement was swallowed', async () => {
    const done = transact(async (tx) => {
      await tx.query('SELECT nonsense').catch(() => {})
      return 'committed'
    })

    await expect(done).rejects.toThrow(/rolled back/)
  })

  test.each(['COMMIT', ' rollback', 'END;', 'ABORT', 'ROLLBACK AND CHAIN'])(
    'does not let %j end it early',
    async (text) => {
      await expect(transact((tx) => tx.query(text))).rejects.toThrow('throw to roll it back')
    },
  )

  test('lets statements fail behind a savepoint', async () => {
    const done = transact(async (tx) => {
      await tx.query('SAVEPOINT before')
      await tx.query('SELECT nonsense').catch(() => {})
      await tx.query('ROLLBACK TO SAVEPOINT before')
      return (await tx.query('SELECT 1 AS one')).rows
    })

    expect(await done).toEqual([{ one: 1 }])
  })

  test('that was lost behind a swallowed error is no handled message', async () => {
    const schema = database.schema()
    const box = inbox({ pool: database.pool, schema })
    await box.migrate()
    await database.pool.query(`CREATE TABLE ${schema}.effect (text text)`)
    const broker = memory()
    const bus = createBus({ events, transport: broker, source: 'tests', use: [box] })
    onTestFinished(() => bus.close())
    let calls = 0
    bus.subscribe('notes', 'note.made', async ({ data }, { tx }) => {
      calls += 1
      await tx?.query(`INSERT INTO ${schema}.effect VALUES ($1)`, [data.text])
      if (calls === 1) await tx?.query('SELECT nonsense').catch(() => {})
    })

    await bus.publish('note.made', { text: 'a' })
    await broker.drain()

    expect((await database.pool.query(`SELECT text FROM ${schema}.effect`)).rows).toEqual([{ text: 'a' }])
    expect(calls).toBe(2)
  })
})
