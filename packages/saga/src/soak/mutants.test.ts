import { expect, test } from 'vitest'
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
