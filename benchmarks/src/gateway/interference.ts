import { readdirSync, readFileSync } from 'node:fs'
import { type Comparison, spread } from '../harness/index.js'

/** What the machine did beside the benchmark while something was measured, in per cent of the time of both cores. */
export interface Interference {
  /** Taken by the host of this virtual machine, while there was work to do. */
  readonly host: number
  /** Had by processes that are none of ours. */
  readonly others: number
}

/** Begins to watch; what it answers with tells what has happened since then. */
export function watchMachine(): () => Interference {
  const before = processorTime()
  const at = performance.now()

  return () => {
    const now = processorTime()
    const share = (ms: number): number => Math.max(0, (ms * 100) / (2 * (performance.now() - at)))
    const ours = now.ours - before.ours

    return { host: share(now.stolen - before.stolen), others: share(now.used - before.used - ours) }
  }
}

/** Beyond so many per cent a turn is named. */
const NOTEWORTHY = 5

export function tellOf(name: string, { host, others }: Interference): void {
  const taken = [
    ...(host > NOTEWORTHY ? [`the host took ${Math.round(host)}%`] : []),
    ...(others > NOTEWORTHY ? [`other programs had ${Math.round(others)}%`] : []),
  ]
  if (taken.length > 0) console.warn(`${name}: ${taken.join(' and ')} of the processors in a turn.`)
}

/** The medians of each subject's turns. */
export function interferenceTable(
  title: string,
  turns: ReadonlyMap<string, readonly { readonly machine: Interference }[]>,
): Comparison {
  const rows = (['host', 'others'] as const).map((who) => {
    const shares = [...turns.values()].flat().map(({ machine }) => machine[who] * 10)
    return { name: who === 'host' ? 'the host' : 'other programs', role: 'peer' as const, amount: spread(shares) }
  })

  return { title: `${title} Processor time that went elsewhere in the median turn`, unit: '‰', rows }
}

/** Milliseconds since the machine started, of both cores. */
function processorTime(): { stolen: number; used: number; ours: number } {
  let stolen = 0
  let used = 0
  for (const line of readFileSync('/proc/stat', 'latin1').match(/^cpu[01] .*$/gm) ?? []) {
    const [user, nice, system, , , , , steal] = line.split(' ').slice(1).map(Number) as number[]
    stolen += steal! * TICK
    used += (user! + nice! + system!) * TICK
  }

  return { stolen, used, ours: timeOfOurs() }
}

/** The kernel counts in hundredths of a second. */
const TICK = 10

/** Whoever was started from here is in our group, and who has ended already is counted with its parent. */
function timeOfOurs(): number {
  const us = fieldsOf('self')![2]
  let time = 0
  for (const name of readdirSync('/proc')) {
    const fields = /^\d+$/.test(name) ? fieldsOf(name) : undefined
    if (fields !== undefined && fields[2] === us) for (const field of fields.slice(11, 15)) time += Number(field) * TICK
  }

  return time
}

/** State, parent, group and so on, as `man proc` has them from the third on; undefined when it has ended meanwhile. */
export function fieldsOf(pid: string | number): string[] | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    // The name may have spaces, and ends with the last parenthesis.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  } catch {
    return undefined
  }
}
