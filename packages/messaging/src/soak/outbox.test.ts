import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { missingPrograms, type OwnBroker, startOwnBroker } from '../../../../tooling/own-broker.js'
import { missingPostgres, type OwnPostgres, startOwnPostgres } from '../../../../tooling/own-postgres.js'
import { askDatabase } from '../testing/databases.js'
import { type EffectTerms, effectTable, proveOneEffect } from './exactly-one-effect.js'
import { bundleActors, startActor } from './processes.js'

/** `pnpm soak:outbox` runs the long form. */
const isLong = process.env['MSX_SOAK'] === '1'

const SHORT: EffectTerms = {
  events: 2_000,
  accounts: 40,
  troubles: [
    'kill a relay',
    'kill a consumer',
    'end all database connections',
    'restart the broker',
    'crash the database',
  ],
  patience: 30_000,
}
const LONG: EffectTerms = {
  events: 100_000,
  accounts: 200,
  troubles: Array.from({ length: 4 }, () => [
    'kill a relay' as const,
    'crash the database' as const,
    'kill a consumer' as const,
    'kill the broker' as const,
    'end all database connections' as const,
    'restart the broker' as const,
  ]).flat(),
  patience: 120_000,
}

const say = (line: string): void => {
  if (isLong) console.log(`  ${line}`)
}

const missing = missingPrograms() ?? missingPostgres()
if (missing !== undefined) console.warn(`\n  SKIPPED: ${missing}. The shared servers are not to be killed.\n`)

describe.skipIf(missing !== undefined)('on servers of our own', { timeout: isLong ? 3_600_000 : 150_000 }, () => {
  let folder: string
  let script: string
  let broker: OwnBroker
  let postgres: OwnPostgres

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'msx-soak-outbox-'))
    ;[script, broker, postgres] = await Promise.all([
      bundleActors(folder, 'outbox-actors'),
      startOwnBroker(),
      startOwnPostgres(askDatabase),
    ])
  }, 150_000)
  afterAll(async () => {
    await Promise.all([broker?.stop(), postgres?.stop()])
    await rm(folder, { recursive: true, force: true })
  }, 60_000)

  test('each event has exactly one effect per group, in the order of its key, whatever breaks', async () => {
    const terms = isLong ? LONG : SHORT
    const start = (role: 'relay' | 'consume') =>
      startActor(script, { role, database: postgres.url, broker: broker.url })

    const report = await proveOneEffect(terms, { postgres, broker, start }, say)
    say(`exactly one effect: ${terms.events} events, 3 groups\n${effectTable(report)}`)

    expect(report).toMatchObject({
      written: terms.events,
      missing: 0,
      doubled: 0,
      misordered: 0,
      left: 0,
      deadLetters: 0,
    })
  })
})
