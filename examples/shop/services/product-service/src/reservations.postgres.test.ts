import { randomUUID } from 'node:crypto'
import { applyMigrations, type Database, pooledDatabase } from '@shop/platform'
import pg from 'pg'
import { afterAll, describe, expect, test } from 'vitest'
import { missingServer } from '../../../../../tooling/missing-server.js'
import { commit, release, reserve } from './reservations.js'

const ttl = 900_000

// PGlite has one connection and runs one transaction at a time: what happens between transactions that really run at
// once is seen on a server.

const url = process.env['DATABASE_URL'] ?? 'postgres://postgres@127.0.0.1:5432/postgres'
const schema = `product_test_${randomUUID().slice(0, 8)}`
const pool = new pg.Pool({
  connectionString: url,
  max: 12,
  connectionTimeoutMillis: 3_000,
  options: `-c search_path=${schema}`,
})
pool.on('error', () => {})
const database = await openDatabase()

afterAll(async () => {
  if (database !== undefined) await pool.query(`DROP SCHEMA ${schema} CASCADE`)
  await pool.end()
})

async function openDatabase(): Promise<Database | undefined> {
  try {
    await pool.query(`CREATE SCHEMA ${schema}`)
  } catch (error) {
    return missingServer('postgres', url, error)
  }
  const opened = pooledDatabase(pool)
  await applyMigrations(opened, new URL('../database/', import.meta.url))
  return opened
}

describe.skipIf(database === undefined)('on a PostgreSQL with twelve connections', () => {
  const shop = database as Database

  async function stock(productId: string): Promise<{ on_hand: number; reserved: number }> {
    const { rows } = await shop.query<{ on_hand: number; reserved: number }>(
      'SELECT on_hand, reserved FROM products WHERE id = $1',
      [productId],
    )
    return rows[0] as { on_hand: number; reserved: number }
  }

  test('forty orders for the last twelve desks get twelve of them', async () => {
    const outcomes = await Promise.all(
      Array.from({ length: 40 }, () => reserve(shop, randomUUID(), [{ productId: 'walnut-desk', quantity: 1 }], ttl)),
    )

    expect(outcomes.filter((outcome) => outcome.kind === 'reserved')).toHaveLength(12)
    expect(outcomes.filter((outcome) => outcome.kind === 'short')).toHaveLength(28)
    expect(await stock('walnut-desk')).toEqual({ on_hand: 12, reserved: 12 })
  })

  test('orders that name the same products in opposite order never lock each other out', async () => {
    const lamp = { productId: 'brass-lamp', quantity: 1 }
    const pen = { productId: 'fountain-pen', quantity: 1 }

    const outcomes = await Promise.all(
      Array.from({ length: 40 }, (_, i) => reserve(shop, randomUUID(), i % 2 === 0 ? [lamp, pen] : [pen, lamp], ttl)),
    )

    expect(outcomes.map((outcome) => outcome.kind)).toEqual(Array.from({ length: 40 }, () => 'reserved'))
  })

  test('a reserve, a release and a commit of one order at the same moment leave the stock consistent', async () => {
    const before = await stock('cast-iron-pan')
    const line = [{ productId: 'cast-iron-pan', quantity: 1 }]
    const orders = Array.from({ length: 30 }, () => randomUUID())

    const committed = await Promise.all(
      orders.map(async (order) => {
        const [, , outcome] = await Promise.all([
          reserve(shop, order, line, ttl),
          release(shop, order),
          commit(shop, order),
        ])
        return outcome === 'committed'
      }),
    )

    const taken = committed.filter(Boolean).length
    expect(await stock('cast-iron-pan')).toEqual({ on_hand: before.on_hand - taken, reserved: 0 })
  })
})
