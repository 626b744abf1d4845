import { afterAll, describe, expect, test } from 'vitest'
import { claimer } from './claims.js'
import { fill } from './crowd.js'
import { flow, oneByOne } from './flow.js'
import { pgbench } from './pgbench.js'
import { openPlace } from './place.js'
import { dbos, msx, msxInMemory, stepsOf } from './runners.js'

const place = await openPlace()

test.each(['async', 'sync'] as const)('runs sagas of %s steps in memory to their end', async (style) => {
  const runner = await msxInMemory(stepsOf(7), style)
  const { sagas } = await flow(runner, 3, 5, 7)
  await runner.close()

  expect(sagas).toBeGreaterThanOrEqual(3)
})

test('a saga that ends with something else is no saga', async () => {
  const runner = { name: 'wrong', run: async () => 3, sent: () => 0, close: async () => {} }

  await expect(oneByOne(runner, 1, 4)).rejects.toThrow('wrong: a saga ended with 3, not 4')
})

describe.skipIf(place === undefined)('with PostgreSQL', () => {
  afterAll(() => place?.close())

  test('the engine writes one record for each step', async () => {
    const runner = await msx(place!)
    const { sagas } = await flow(runner, 5, 50, 4)
    await runner.close()

    const { rows } = await place!.pool.query('SELECT count(*)::int AS count FROM msx_saga.saga_step')
    expect(rows[0].count).toBe(4 * sagas)
    expect(place!.sent()).toBeGreaterThan(0)
  })

  test('DBOS writes one row for each step', async () => {
    const runner = await dbos(place!)
    const { sagas } = await flow(runner, 5, 50, 4)
    await runner.close()

    const { rows } = await place!.pool.query('SELECT count(*)::int AS count FROM dbos.operation_outputs')
    expect(rows[0].count).toBe(4 * sagas)
  })

  test('finds what is due in a crowd', async () => {
    await fill(place!.pool, 'crowded', { finished: 100, waiting: 10 })
    const { claim, idle } = await claimer(place!.pool, 'crowded')

    expect(await claim(7)).toBeGreaterThan(0)
    expect(await idle()).toBeGreaterThan(0)
    const { rows } = await place!.pool.query(
      'SELECT status, count(*)::int AS count FROM crowded.saga GROUP BY 1 ORDER BY 1',
    )
    expect(rows).toEqual([
      { status: 'completed', count: 100 },
      { status: 'running', count: 7 },
      { status: 'waiting', count: 10 },
    ])
  })

  test('pgbench inserts rows', async () => {
    const inserts = await pgbench(place!)
    const nsEach = await inserts.run(1_000)
    await inserts.close()

    const { rows } = await place!.pool.query('SELECT count(*)::int AS count FROM bench_row')
    expect(rows[0].count * nsEach).toBeGreaterThan(0.5e9)
  })
})
