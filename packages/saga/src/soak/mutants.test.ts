import { afterAll, expect, test } from 'vitest'
import { POSTGRES_OF_TESTS } from '../../../../tooling/databases.js'
import { postgresStore } from '../postgres.js'
import type { Database, Queryable } from '../shapes.js'
import { openPool, postgresDatabase } from '../testing/databases.js'
import { storeContract } from '../testing/store-contract.js'
import { MUTANTS } from './mutants.js'
import { simulate } from './simulation.js'

/* The proofs must be able to fail: each bug that is planted here has to be found, by what is said of a store without one. */
const SEEDS = 150

test.each(Object.keys(MUTANTS))('the simulation finds it when %s', { timeout: 60_000 }, async (mutant) => {
  for (let seed = 1; seed <= SEEDS; seed++) {
    const { problems } = await simulate({ seed, mutant })
    if (problems.length > 0) return console.log(`  seed ${seed}: ${problems[0]?.slice(0, 200)}`)
  }
  expect.fail(`${SEEDS} seeds, and nothing was found`)
})

const database = await postgresDatabase()
const pool = database && openPool(POSTGRES_OF_TESTS, 10)
afterAll(async () => {
  await pool?.end()
  await database?.close()
})

function ignore(): void {}

/** A pool whose statements say something else; `changed` counts those that do. */
function rewriting(real: NonNullable<typeof pool>, from: RegExp, to: string) {
  let changed = 0
  const rewrite = (text: string): string => {
    const mutated = text.replace(from, to)
    if (mutated !== text) changed++
    return mutated
  }
  const over =
    (on: Queryable): Queryable['query'] =>
    (text, values) =>
      on.query(rewrite(text), values)
  const mutated: Database = {
    query: over(real),
    async connect() {
      const client = await real.connect()
      client.off('error', ignore)
      client.on('error', ignore)
      return { query: over(client), release: (error?: Error | boolean) => client.release(error) }
    },
  }
  return { mutated, changed: () => changed }
}

test.for([
  ['asks for no fence', /s\.fence = b\.fence AND/, ''],
  ['keeps no token', /token = b\.token/, 'token = NULL'],
  ['locks no mailbox', /pg_advisory_xact_lock\(hashtextextended\(\$1, 1\)\)/, 'length($1)'],
  ['does in many transactions what belongs into one', /^BEGIN\b/, 'SELECT 1'],
] as const)('the contract finds a store on PostgreSQL that %s', { timeout: 60_000 }, async ([, from, to], { skip }) => {
  if (!database || !pool) return skip('no server answers')

  const { mutated, changed } = rewriting(pool, from, to)
  const failed: string[] = []
  for (const { name, run } of storeContract(async () => {
    const schema = database.schema()
    await postgresStore({ pool, schema }).migrate()
    return postgresStore({ pool: mutated, schema })
  })) {
    try {
      await run()
    } catch {
      failed.push(name)
    }
    if (failed.length > 0) break
  }

  expect(changed(), 'the statement that is to be mutated reads differently now').toBeGreaterThan(0)
  expect(failed).toHaveLength(1)
  console.log(`  found by: ${failed[0]}`)
})
