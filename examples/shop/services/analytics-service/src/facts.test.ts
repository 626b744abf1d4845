import { applyMigrations, type Database } from '@shop/platform'
import { testDatabase } from '@shop/platform/testing'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { type Fact, recordFact, summarise } from './facts.js'

let database: Database
let close: () => Promise<void>

beforeAll(async () => {
  const opened = await testDatabase('analytics_service')
  database = opened.database
  close = opened.close
  await applyMigrations(database, new URL('../database/', import.meta.url))
})

afterAll(() => close())

const confirmed = (eventId: string, amount: number): Fact => ({
  eventId,
  type: 'order.confirmed',
  source: 'order-service',
  at: new Date(0),
  data: {},
  revenue: { amount, currency: 'EUR' },
})

it('records a fact and its numbers together or not at all', async () => {
  await database.execute('ALTER TABLE revenue ADD CONSTRAINT modest CHECK (amount < 100)')

  await database.transaction((tx) => recordFact(tx, confirmed('small', 10)))
  await expect(database.transaction((tx) => recordFact(tx, confirmed('large', 1_000)))).rejects.toMatchObject({
    code: '23514',
  })

  const { rows } = await database.query('SELECT event_id FROM facts')
  expect(rows).toEqual([{ event_id: 'small' }])
  expect(await summarise(database)).toMatchObject({ orders: { confirmed: 1 }, revenue: { EUR: 10 } })
})
