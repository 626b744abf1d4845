import { createInterface } from 'node:readline'
import { setTimeout as wait } from 'node:timers/promises'
import type { OwnBroker } from '../../../../tooling/own-broker.js'
import type { FloodReport } from './actors.js'
import { kill, startActor } from './processes.js'

export interface BlockedReport {
  /** Of the publishing process, in MiB: at the beginning of the blockade, and at most during it. */
  readonly rssBefore: number
  readonly rssMost: number
  /** Confirmed while the broker was blocked. */
  readonly confirmedMeanwhile: number
  readonly rejectedMeanwhile: number
  readonly last: FloodReport
}

/** Publishes at full speed while the broker takes nothing for `ms`. */
export async function blockade(
  broker: OwnBroker,
  script: string,
  ms: number,
  onFull: 'wait' | 'reject',
): Promise<BlockedReport> {
  const flooder = startActor(script, { role: 'flood', url: broker.url, callers: 3_000, onFull })
  const reports: FloodReport[] = []
  const lines = createInterface({ input: flooder.stdout as NonNullable<typeof flooder.stdout> })
  let look = (): void => {}
  lines.on('line', (line) => {
    reports.push(JSON.parse(line) as FloodReport)
    look()
  })
  const until = async (holds: (report: FloodReport) => boolean): Promise<FloodReport> => {
    for (;;) {
      const last = reports.at(-1)
      if (last !== undefined && holds(last)) return last
      await new Promise<void>((resolve) => {
        look = resolve
      })
    }
  }

  try {
    // What is allocated once, and kept, has been.
    await until(({ confirmed }) => confirmed > 8_000)
    await broker.starve(async () => {
      await until(({ blocked }) => blocked)
      await wait(ms)
    })
    const freed = await until(({ blocked }) => !blocked)
    // Something went out since.
    await until(({ confirmed }) => confirmed > freed.confirmed + 1_000)
    flooder.stdin?.end()
    const last = await until(({ done }) => done)

    const during = reports.filter(({ blocked }) => blocked)
    const first = during[0] as FloodReport
    const final = during.at(-1) as FloodReport
    return {
      rssBefore: mebibytes(first.rss),
      rssMost: mebibytes(Math.max(...during.map(({ rss }) => rss))),
      confirmedMeanwhile: final.confirmed - first.confirmed,
      rejectedMeanwhile: total(final) - total(first),
      last,
    }
  } finally {
    await kill(flooder)
  }
}

function total({ rejected }: FloodReport): number {
  return Object.values(rejected).reduce((sum, count) => sum + count, 0)
}

function mebibytes(bytes: number): number {
  return Math.round(bytes / 2 ** 20)
}
