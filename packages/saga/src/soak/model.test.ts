import fc from 'fast-check'
import { afterAll, expect, test } from 'vitest'
import { memoryStore } from '../index.js'
import { type VirtualClock, virtualClock } from '../testing/clock.js'
import { pgliteDatabase, postgresDatabase, type TestDatabase } from '../testing/databases.js'
import { Bench, type BenchStore } from './bench.js'
import { commandsOf, finishAll, type Model, partsOf } from './model.js'
import { World } from './world.js'

/** SAGA_SEED=… runs the cases of that seed again; `pnpm soak:saga-model` runs more of them. */
const seed = Number(process.env['SAGA_SEED'] ?? Math.floor(Math.random() * 2 ** 31))
const times = process.env['MSX_SOAK'] === '1' ? 20 : 1
const timeout = 60_000 * times

const databases: Record<string, TestDatabase | undefined> = {
  PGlite: await pgliteDatabase(),
  PostgreSQL: await postgresDatabase(),
}
afterAll(async () => {
  for (const database of Object.values(databases)) await database?.close()
})

let names = 0

/** Runs commands against a model and against engines on a store, and then all that is left to its end. */
async function prove(
  runs: number,
  setUp: (clock: VirtualClock) => Promise<{ readonly world: World } & BenchStore>,
): Promise<void> {
  console.log(`  SAGA_SEED=${seed}`)
  const cases = partsOf.chain((parts) => fc.tuple(fc.constant(parts), commandsOf(parts, 25)))
  const property = fc.asyncProperty(cases, async ([parts, commands]) => {
    const clock = virtualClock()
    const { world, ...store } = await setUp(clock)
    const model: Model = { parts, sagas: [], mail: new Map(), troubles: 0 }
    const bench = new Bench(`model${++names}`, parts, world, clock, store)
    try {
      await bench.hire()
      await fc.asyncModelRun(() => ({ model, real: bench }), commands)
      await finishAll(model, bench)
    } finally {
      await bench.close()
    }
  })
  await fc.assert(property, { seed, numRuns: runs })
}

test('sagas in memory do what the model says, whatever happens', { timeout }, async () => {
  await prove(2_000 * times, async (clock) => {
    const world = new World()
    return { world, store: memoryStore({ clock, transaction: world.transaction }) }
  })
  expect(names).toBeGreaterThanOrEqual(2_000 * times)
})

test.for([
  ['PGlite', 6],
  ['PostgreSQL', 15],
] as const)('and so they do on %s', { timeout }, async ([kind, runs], { skip }) => {
  const database = databases[kind]
  if (!database) return skip('no server answers')

  const store = await database.store({ testClock: true })
  const table = `"${store.schema}".effect`
  await database.pool.query(`CREATE TABLE ${table} (saga text NOT NULL, name text NOT NULL, times int NOT NULL)`)
  await prove(runs * times, async () => {
    await database.pool.query(`TRUNCATE ${table}`)
    return { world: new World(table), store, tables: database.pool, advance: async (ms) => store.advance?.(ms) }
  })
})
