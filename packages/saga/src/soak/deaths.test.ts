import { spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, onTestFinished, test } from 'vitest'
import { missingPostgres, startOwnPostgres } from '../../../../tooling/own-postgres.js'
import { bundleActors } from '../../../../tooling/processes.js'
import { askDatabase } from '../testing/databases.js'
import { type DeathTerms, proveDeaths } from './deaths.js'

/** `pnpm soak:saga` runs the long form. */
const isLong = process.env['MSX_SOAK'] === '1'
const seed = Number(process.env['SAGA_SEED'] ?? Math.floor(Math.random() * 2 ** 31))

const SHORT: DeathTerms = {
  seed,
  sagas: 300,
  troubles: [
    'kill a worker',
    'end all connections',
    'stop a worker past its lease',
    'crash the database',
    'kill a worker',
  ],
  patience: 30_000,
}
const LONG: DeathTerms = { ...SHORT, sagas: 5_000, patience: 120_000 }

const missing = missingPostgres()
if (missing !== undefined) console.warn(`\n  SKIPPED: ${missing}. The shared server is not to be killed.\n`)

test.skipIf(missing !== undefined)(
  'no saga is lost or done by halves, whoever dies',
  { timeout: isLong ? 3_600_000 : 90_000 },
  async () => {
    const folder = await mkdtemp(join(tmpdir(), 'msx-soak-saga-'))
    onTestFinished(() => rm(folder, { recursive: true, force: true }))
    const here = fileURLToPath(new URL('.', import.meta.url))
    const [script, postgres] = await Promise.all([
      bundleActors(folder, here, 'deaths-actors'),
      startOwnPostgres(askDatabase),
    ])
    onTestFinished(() => postgres.stop())

    const terms = isLong ? LONG : SHORT
    const say = (line: string): void => (isLong ? console.log(`  ${line}`) : undefined)
    const report = await proveDeaths(
      terms,
      postgres,
      (role) => spawn(process.execPath, [script, JSON.stringify(role)], { stdio: ['ignore', 'ignore', 'inherit'] }),
      say,
    )
    console.log(`  SAGA_SEED=${seed}: ${JSON.stringify(report)}`)

    expect(report).toMatchObject({ sagas: terms.sagas, stranded: 0, wrong: [] })
    expect(report.completed).toBeGreaterThan(terms.sagas / 2)
    expect(report.unwound).toBeGreaterThan(terms.sagas / 10)
  },
)
