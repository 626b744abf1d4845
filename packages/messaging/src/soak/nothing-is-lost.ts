import type { ChildProcess } from 'node:child_process'
import { open, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import type { OwnBroker } from '../../../../tooling/own-broker.js'
import { type Bus, createBus } from '../bus.js'
import type { SchemasOf } from '../catalogue.js'
import { isMessagingError } from '../errors.js'
import { proxyTo } from '../rabbitmq/proxy.js'
import { rabbitmq } from '../rabbitmq.js'
import { GROUPS, soakEvents } from './actors.js'
import { kill, startActor } from './processes.js'

export interface SoakTerms {
  readonly events: number
  readonly publishers: number
  /** How often connections are torn in the middle of a frame. */
  readonly cuts: number
  /** What is restarted, in this order. */
  readonly restarts: readonly ('application' | 'node')[]
  /** How often the consumers' process is killed. */
  readonly kills: number
  /** How long the memory alarm lasts after a publisher was told of it, in ms. */
  readonly alarm: number
}

export interface SoakReport {
  readonly published: number
  readonly confirmed: number
  /** By the code they were rejected with. */
  readonly rejected: Readonly<Record<string, number>>
  readonly unsettled: number
  /** Confirmed, and not handled by the group. */
  readonly lost: Readonly<Record<string, number>>
  /** How often something was handled once more. */
  readonly doubled: Readonly<Record<string, number>>
  readonly connectionLosses: number
  readonly blocked: number
  readonly seconds: number
}

/** How many events a publisher has on their way. */
const OUTSTANDING = 400

/** How long a publisher pauses between two events while there is trouble, in ms, so that there are some all the time. */
const PACE = 50

/** How long it may take until a publisher is told of the alarm, once that is raised, in ms. */
const NOTICE_TIMEOUT = 30_000

/** How long nothing may be handled, once all publishes are settled, before what is missing counts as lost, in ms. */
const PATIENCE = 30_000

/**
 * Publishes to three groups while everything breaks that can: what the broker confirmed has to be handled by each group,
 * and each publish has to settle. Trouble comes at even shares of what is published.
 */
export async function soak(
  terms: SoakTerms,
  broker: OwnBroker,
  folder: string,
  script: string,
  say: (line: string) => void,
): Promise<SoakReport> {
  const ledger = join(folder, 'handled.txt')
  await writeFile(ledger, '')
  const publishing = await proxyTo(broker.url)
  const consuming = await proxyTo(broker.url)
  const startConsumer = (): ChildProcess => startActor(script, { role: 'consume', url: consuming.url, ledger })
  const startedAt = performance.now()
  let consumer = startConsumer()
  // Every group has its queue before the first event comes.
  await queuesOf(broker.url)

  const confirmed = new Set<string>()
  const rejected: Record<string, number> = {}
  let published = 0
  let settled = 0
  let losses = 0
  let blocked = 0
  let isTrouble = false
  /** No event goes out that would find all trouble over. */
  let allowed = 0

  const publisher = async (number: number): Promise<() => Promise<void>> => {
    const transport = rabbitmq({ url: publishing.url, reconnect: () => 100, confirmTimeout: 120_000 })
    const bus = createBus({ events: soakEvents, transport, source: `soak-publisher-${number}` })
    bus.on('connection', ({ state }) => {
      if (state === 'down') losses += 1
    })
    bus.on('blocked', (notice) => {
      if (notice.blocked) blocked += 1
    })
    await bus.start()

    return () => publishAll(number, bus)
  }

  const publishAll = async (number: number, bus: Bus<SchemasOf<typeof soakEvents>>): Promise<void> => {
    let outstanding = 0
    let wake = (): void => {}
    for (let n = number; n < terms.events; n += terms.publishers) {
      if (isTrouble) await wait(PACE)
      while (published >= allowed) await wait(PACE)
      const id = `e-${n}`
      published += 1
      outstanding += 1
      const done = (): void => {
        settled += 1
        outstanding -= 1
        wake()
      }
      bus.publish('soak.happened', { n, pad: 'x'.repeat(200) }, { id }).then(
        () => {
          confirmed.add(id)
          done()
        },
        (error) => {
          const code = isMessagingError(error) ? error.code : String(error)
          rejected[code] = (rejected[code] ?? 0) + 1
          done()
        },
      )
      while (outstanding >= OUTSTANDING) {
        await new Promise<void>((resolve) => {
          wake = resolve
        })
      }
    }
    while (outstanding > 0) {
      await new Promise<void>((resolve) => {
        wake = resolve
      })
    }
    await bus.close()
  }

  /** The broker tells only who publishes, so events are kept for the alarm while the command to raise it starts. */
  const starve = async (): Promise<void> => {
    const most = allowed
    allowed = published
    await broker.starve(async () => {
      const before = blocked
      const deadline = performance.now() + NOTICE_TIMEOUT
      allowed = most
      while (blocked === before) {
        if (performance.now() > deadline) {
          const state = `${published} of ${terms.events} events published, ${confirmed.size} confirmed`
          throw new Error(`no publisher was told of the memory alarm within ${NOTICE_TIMEOUT} ms: ${state}`)
        }
        await wait(PACE)
      }
      await wait(terms.alarm)
    })
  }

  const troubles = interleave<[name: string, run: () => Promise<void> | void]>([
    Array.from({ length: terms.cuts }, (_, n) => [
      'tears connections in the middle of a frame',
      () => (n % 2 === 0 ? publishing : consuming).tear(),
    ]),
    Array.from({ length: terms.kills }, () => [
      'kills the consumers',
      async () => {
        await kill(consumer)
        consumer = startConsumer()
      },
    ]),
    [['raises the memory alarm, and lifts it', starve]],
    terms.restarts.map((what) => [`restarts the broker (${what})`, () => broker.restart(what)]),
  ])

  const shareOf = (trouble: number): number => Math.floor(((trouble + 1) / (troubles.length + 1)) * terms.events)
  const makeTrouble = async (): Promise<void> => {
    for (const [index, [name, run]] of troubles.entries()) {
      allowed = shareOf(index)
      while (published < allowed) await wait(5)
      say(`${confirmed.size} of ${terms.events} confirmed: ${name}`)
      isTrouble = true
      allowed = shareOf(index + 1)
      await run()
      isTrouble = false
    }
    allowed = terms.events
  }

  try {
    const publishers = await Promise.all(Array.from({ length: terms.publishers }, (_, n) => publisher(n)))
    await Promise.all([makeTrouble(), ...publishers.map((publish) => publish())])
    say(`${confirmed.size} of ${terms.events} confirmed: waits for the last ones to be handled`)
    const times = await allHandled(ledger, confirmed)

    return {
      published,
      confirmed: confirmed.size,
      rejected,
      unsettled: published - settled,
      lost: perGroup(times, (seen) => [...confirmed].filter((id) => !seen.has(id)).length),
      doubled: perGroup(times, (seen) => [...seen.values()].reduce((sum, count) => sum + count - 1, 0)),
      connectionLosses: losses,
      blocked,
      seconds: (performance.now() - startedAt) / 1_000,
    }
  } finally {
    await kill(consumer)
    await Promise.all([publishing.close(), consuming.close()])
  }
}

export function table(report: SoakReport): string {
  const rows: [string, string][] = [
    ['published', String(report.published)],
    ['confirmed', String(report.confirmed)],
    ['rejected', JSON.stringify(report.rejected)],
    ['never settled', String(report.unsettled)],
    ...GROUPS.map((group): [string, string] => [
      `group '${group}'`,
      `${report.lost[group]} lost, ${report.doubled[group]} handled once more`,
    ]),
    ['connections lost', String(report.connectionLosses)],
    ['times blocked', String(report.blocked)],
    ['took', `${report.seconds.toFixed(1)} s`],
  ]

  return rows.map(([name, value]) => `  ${name.padEnd(18)} ${value}`).join('\n')
}

type Times = ReadonlyMap<string, ReadonlyMap<string, number>>

/** Waits as long as there is progress. */
async function allHandled(ledger: string, confirmed: ReadonlySet<string>): Promise<Times> {
  const times = new Map(GROUPS.map((group) => [group, new Map<string, number>()]))
  let offset = 0
  let progressAt = performance.now()
  for (;;) {
    const text = await linesFrom(ledger, offset)
    if (text.length > 0) progressAt = performance.now()
    offset += Buffer.byteLength(text)
    for (const line of text.split('\n')) {
      const [group = '', id = ''] = line.split(' ')
      const seen = times.get(group)
      seen?.set(id, (seen.get(id) ?? 0) + 1)
    }

    const isWhole = GROUPS.every((group) => [...confirmed].every((id) => times.get(group)?.has(id)))
    if (isWhole || performance.now() - progressAt > PATIENCE) return times
    await wait(250)
  }
}

/** What was written since, up to the last whole line. */
async function linesFrom(path: string, offset: number): Promise<string> {
  const file = await open(path)
  try {
    const { size } = await file.stat()
    const { buffer, bytesRead } = await file.read(Buffer.alloc(size - offset), 0, size - offset, offset)
    return buffer.subarray(0, buffer.subarray(0, bytesRead).lastIndexOf('\n') + 1).toString()
  } finally {
    await file.close()
  }
}

function perGroup(times: Times, count: (seen: ReadonlyMap<string, number>) => number): Record<string, number> {
  return Object.fromEntries(GROUPS.map((group) => [group, count(times.get(group) ?? new Map())]))
}

/** Spreads each list evenly over the whole. */
function interleave<T>(lists: readonly (readonly T[])[]): T[] {
  return lists
    .flatMap((list) => list.map((item, index) => ({ item, place: (index + 0.5) / list.length })))
    .sort((a, b) => a.place - b.place)
    .map(({ item }) => item)
}

async function queuesOf(url: string): Promise<void> {
  const connection = await rabbitmq({ url, topology: 'none' }).connect({ name: 'soak' })
  try {
    for (const group of GROUPS) {
      const deadline = performance.now() + PATIENCE
      for (;;) {
        const isThere = await connection.depth(group).then(
          () => true,
          () => false,
        )
        if (isThere) break
        if (performance.now() > deadline) throw new Error(`the consumers made no queue '${group}'`)
        await wait(50)
      }
    }
    // Bound a moment after it is there.
    await wait(500)
  } finally {
    await connection.close()
  }
}
