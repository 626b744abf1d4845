import { expect, test } from 'vitest'
import { simulate } from './simulation.js'

/** `pnpm soak:saga-sim` runs the long form; SAGA_SEED=7 runs one seed, and says what happens. */
const isLong = process.env['MSX_SOAK'] === '1'
const only = process.env['SAGA_SEED']
const RUNS = Number(process.env['SAGA_RUNS'] ?? (isLong ? 20_000 : 150))

test('every saga ends, and adds up, whatever goes wrong', { timeout: isLong ? 3_600_000 : 120_000 }, async () => {
  const first = only === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(only)
  const last = only === undefined ? first + RUNS - 1 : first
  const ends: Record<string, number> = {}

  for (let seed = first; seed <= last; seed++) {
    const report = await simulate({ seed, ...(only !== undefined && { say: console.log }) })
    expect(report.problems, `SAGA_SEED=${seed} shows it again`).toEqual([])
    for (const [status, count] of Object.entries(report.ends)) ends[status] = (ends[status] ?? 0) + count
  }
  console.log(`  seeds ${first} to ${last}: ${JSON.stringify(ends)}`)
})

test('a seed decides all that happens', async () => {
  const [once, again, other] = [await simulate({ seed: 1 }), await simulate({ seed: 1 }), await simulate({ seed: 2 })]

  expect(again).toEqual(once)
  expect(other.digest).not.toBe(once.digest)
})
