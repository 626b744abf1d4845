import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect } from 'amqplib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { LARGEST_MESSAGE, missingPrograms, type OwnBroker, startOwnBroker } from '../../../../tooling/own-broker.js'
import { createBus } from '../bus.js'
import { rabbitmq } from '../rabbitmq.js'
import { GROUPS, soakEvents } from './actors.js'
import { blockade } from './blocked.js'
import { type SoakTerms, soak, table } from './nothing-is-lost.js'
import { bundleActors } from './processes.js'

/** `pnpm soak:messaging` runs the long form. */
const isLong = process.env['MSX_SOAK'] === '1'

const SHORT: SoakTerms = { events: 4_000, publishers: 4, cuts: 6, restarts: ['application'], kills: 1, alarm: 1_500 }
const LONG: SoakTerms = {
  events: 100_000,
  publishers: 4,
  cuts: 40,
  restarts: ['node', 'application', 'node'],
  kills: 8,
  alarm: 10_000,
}

const say = (line: string): void => {
  if (isLong) console.log(`  ${line}`)
}

const missing = missingPrograms()
if (missing !== undefined) console.warn(`\n  SKIPPED: ${missing}. The shared one is not to be restarted.\n`)

describe.skipIf(missing !== undefined)('on a RabbitMQ of our own', { timeout: isLong ? 1_800_000 : 150_000 }, () => {
  let folder: string
  let script: string
  let broker: OwnBroker

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'msx-soak-'))
    ;[script, broker] = await Promise.all([bundleActors(folder), startOwnBroker()])
  }, 120_000)
  afterAll(async () => {
    await broker?.stop()
    await rm(folder, { recursive: true, force: true })
  }, 60_000)

  test('what is confirmed is handled by each group, whatever breaks', async () => {
    const terms = isLong ? LONG : SHORT
    const report = await soak(terms, broker, folder, script, say)
    say(`nothing confirmed is lost: ${terms.events} events\n${table(report)}`)

    const none = Object.fromEntries(GROUPS.map((group) => [group, 0]))
    expect(report).toMatchObject({ published: terms.events, unsettled: 0, lost: none })
    // Nearly all of it, or there was nothing to lose.
    expect(report.confirmed).toBeGreaterThan(terms.events * 0.9)
    expect(report.blocked).toBeGreaterThan(0)
    expect(report.connectionLosses).toBeGreaterThan(terms.publishers)
  })

  test('a body that the broker refuses takes no other with it', async () => {
    const bus = createBus({ events: soakEvents, transport: rabbitmq({ url: broker.url }), source: 'tests' })
    const got = new Set<number>()
    bus.subscribe('sizes', 'soak.*', ({ data }) => {
      got.add(data.n)
    })
    await bus.start()

    const sizes = [10, LARGEST_MESSAGE + 1, 10, LARGEST_MESSAGE + 1, 10]
    const outcomes = await Promise.allSettled(
      sizes.map((size, n) => bus.publish('soak.happened', { n, pad: 'x'.repeat(size) })),
    )

    const codes = outcomes.map((outcome) => (outcome.status === 'rejected' ? outcome.reason.code : undefined))
    expect(codes).toEqual([undefined, 'MSX_TOO_LARGE', undefined, 'MSX_TOO_LARGE', undefined])
    await expect.poll(() => [...got].sort()).toEqual([0, 2, 4])
    await bus.close()
  })

  test.each(['wait', 'reject'] as const)('a broker that takes nothing fills no memory: %s', async (onFull) => {
    await sink(broker.url)
    const ms = isLong ? 60_000 : 2_500
    const report = await blockade(broker, script, ms, onFull)
    say(`blocked for ${ms} ms, onFull '${onFull}': ${JSON.stringify(report)}`)

    expect(report.rssMost - report.rssBefore).toBeLessThan(24)
    expect(report.last.inFlight).toBe(0)
    expect(report.confirmedMeanwhile).toBeLessThan(2_000)
    if (onFull === 'wait') expect(report.last.rejected).toEqual({})
    else {
      expect(Object.keys(report.last.rejected)).toEqual(['MSX_WINDOW_FULL'])
      expect(report.rejectedMeanwhile).toBeGreaterThan(1_000)
    }
  })
})

/** One queue that takes everything and keeps little, so that what a flood leaves behind does not starve the broker itself. */
async function sink(url: string): Promise<void> {
  const model = await connect(url)
  model.on('error', () => {})
  const channel = await model.createChannel()
  for (const queue of [...GROUPS, 'sizes']) await channel.deleteQueue(queue)
  await channel.assertExchange('msx.events', 'topic', { durable: true })
  await channel.assertQueue('sink', { durable: true, arguments: { 'x-max-length': 10 } })
  await channel.bindQueue('sink', 'msx.events', '#')
  await model.close()
}
