import { type Benchmark, type Comparison, orderOf, type Row, spread } from '../harness/index.js'
import { BARE, FASTIFY, OUR_CHAIN, OURS, RELAY } from './gateways.js'
import { type Interference, interferenceTable, tellOf, watchMachine } from './interference.js'
import type { Times } from './paced.js'
import { type Started, startPacer } from './processes.js'
import { canLoad, planOf, withGateways } from './rounds.js'

const RATE = 2_000
/** Microseconds that a gateway may add. */
const ADDED = 2_000

/** How long all gateways are left alone before they are paced, in ms: what V8 has put off is then done. */
const SETTLE = 1_000

/** At another pace V8 sees other shapes, and compiles a hundred functions anew: rounds until it has, which do not count. */
const FIRST = 3

const DIRECT = 'direct'

interface Paced extends Times {
  readonly machine: Interference
}

/** What a gateway adds to the time of a request when it has air to breathe. */
export const latency: Benchmark = {
  name: 'latency',
  async *run(effort) {
    if (!canLoad('latency')) return

    const { rounds, ms, warmUp } = planOf(effort)
    const pacer = startPacer()
    const times = new Map<string, Paced[]>()
    try {
      await withGateways([RELAY, BARE, OURS, OUR_CHAIN, FASTIFY], warmUp, async (gateways, backend) => {
        const subjects: readonly (readonly [string, Started])[] = [[DIRECT, backend], ...gateways]
        for (const [name] of subjects) times.set(name, [])
        await new Promise((resolve) => setTimeout(resolve, SETTLE))
        for (let round = -FIRST; round < rounds; round += 1) {
          for (const [name, { port, token }] of orderOf(round + FIRST, subjects)) {
            const since = watchMachine()
            const taken = await pacer.load(port, token, RATE, ms)
            const machine = since()
            if (round < 0) continue

            tellOf(name, machine)
            times.get(name)!.push({ ...taken, machine })
          }
        }
      })
    } finally {
      await pacer.stop()
    }

    for (const percentile of ['p50', 'p99'] as const) yield added(percentile, times)
    yield interferenceTable(`${RATE.toLocaleString('en')} requests a second.`, times)
  },
}

function added(percentile: 'p50' | 'p99', times: ReadonlyMap<string, readonly Paced[]>): Comparison {
  const micros = (name: string): number[] => times.get(name)!.map((timed) => timed[percentile] * 1_000)
  const direct = micros(DIRECT)
  const rows = [...times.keys()].map((name): Row => {
    const amounts = micros(name)
    const more = spread(amounts.map((amount, round) => amount - direct[round]!))
    const ours = name === OURS || name === OUR_CHAIN
    const target = { of: 'amount', limit: ADDED, kind: 'target', reached: more.median <= ADDED } as const

    return {
      name,
      role: name === DIRECT ? 'bare' : ours ? 'ours' : 'peer',
      amount: spread(amounts),
      ...(name !== DIRECT && { added: more }),
      ...(ours && percentile === 'p99' && { target }),
    }
  })

  return { title: `${percentile} at ${RATE.toLocaleString('en')} requests a second`, unit: 'µs', rows }
}
