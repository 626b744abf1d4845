// The process that kill.test.ts kills: twenty sagas on a PGlite folder, each in the middle of a step.
import { PGlite } from '@electric-sql/pglite'
import { createSagaEngine, saga } from '@msx/saga'
import { postgresStore } from '@msx/saga/postgres'

const [, , folder, role] = process.argv
const pool = new PGlite(folder)
const store = postgresStore({ pool })
await store.migrate()
await pool.query('CREATE TABLE IF NOT EXISTS effect (key text PRIMARY KEY, times int NOT NULL)')

const apply = ({ key }) =>
  pool.query('INSERT INTO effect VALUES ($1, 1) ON CONFLICT (key) DO UPDATE SET times = effect.times + 1', [key])
let inStep = 0
const order = saga('order')
  .step('reserve', async (c) => void (await apply(c)))
  .txStep('confirm', async (tx, { key }) => void (await tx.query('INSERT INTO effect VALUES ($1, 1)', [key])))
  .pivot('charge', async (c) => {
    await apply(c)
    if (role !== 'first') return
    if (++inStep === 20) process.stdout.write('in the middle\n')
    await new Promise(() => undefined)
  })
  .step('ship', async (c) => void (await apply(c)))
  .returns(({ input }) => input)

const engine = createSagaEngine({ store, sagas: [order], lease: { ttl: 500 } })
await engine.run()

if (role === 'first') {
  await Promise.all(Array.from({ length: 20 }, (_, i) => engine.start(order, i, { key: String(i) })))
} else {
  const open = (await engine.list()).items
  const settled = await Promise.all(open.map(({ id }) => engine.settled(id, { timeout: 10_000 })))
  const { rows } = await pool.query('SELECT key, times FROM effect')
  await engine.close()
  await pool.close()
  process.stdout.write(JSON.stringify({ statuses: settled.map(({ status }) => status), effects: rows }))
}
