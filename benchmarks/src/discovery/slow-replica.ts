import { BalancedPool, buildConnector, type Dispatcher, RoundRobinPool } from 'undici'
import { type Benchmark, type Comparison, type Effort, judge, SMOKE, type Subject } from '../harness/index.js'
import { CALLERS, requests } from './callers.js'
import { services } from './dispatch.js'
import { replicas } from './replicas.js'

/** How long each replica takes, in ms: one of five is 20 times slower. */
const DELAYS = [10, 10, 10, 10, 200]

/** One turn of a subject, after one to warm up. */
const REQUESTS = 4_000

interface Turn {
  /** ns per request, all callers together. */
  readonly each: number
  /** ns; of a hundred requests the slowest takes longer. */
  readonly p99: number
}

/** One replica is slow: who sends it less, and whose callers wait for it. */
export const slowReplica: Benchmark = {
  name: 'slow-replica',
  async *run(effort) {
    yield* contest(effort)
  },
}

async function* contest(effort: Effort): AsyncIterable<Comparison> {
  const rounds = Math.min(effort.rounds, 7)
  const count = effort === SMOKE ? CALLERS * 2 : REQUESTS
  const { origins, close } = await replicas(...DELAYS)
  const ours = services(origins)
  const balanced = new BalancedPool([...origins])
  const inTurns = roundRobinPool(origins)
  const subjects: readonly [Subject, Dispatcher, string][] = [
    [named('ServiceDispatcher'), ours.dispatcher, 'http://users'],
    [named('undici BalancedPool'), balanced, origins[0]!],
    [named('undici RoundRobinPool'), inTurns, origins[0]!],
  ]
  const turns = new Map<Subject, Turn[]>(subjects.map(([subject]) => [subject, []]))
  try {
    for (let round = -1; round < rounds; round++) {
      for (const index of subjects.keys()) {
        const [subject, dispatcher, origin] = subjects[(index + round + 1) % subjects.length]!
        globalThis.gc?.()
        const made = await turn(dispatcher, origin, count)
        if (round >= 0) turns.get(subject)!.push(made)
      }
    }
  } finally {
    await Promise.all([ours.close(), balanced.close(), inTurns.close()])
    await close()
  }

  const [mine, ...others] = subjects.map(([subject]) => subject) as [Subject, ...Subject[]]
  const judged = (what: string, amount: keyof Turn, unit: string) => {
    const samples = new Map([...turns].map(([subject, made]) => [subject, made.map((each) => each[amount])]))
    const peers = others.map((other) => ({ ...other, target: 1 }))
    for (const [index, peer] of peers.entries()) samples.set(peer, samples.get(others[index]!)!)
    const title = `${what}: GET, ${CALLERS} callers, five replicas of which one takes ${DELAYS.at(-1)} ms instead of ${DELAYS[0]}`
    return judge({ title, ours: mine, peers }, samples, unit)
  }
  yield judged('Time per request', 'each', 'ns/request')
  yield judged('p99', 'p99', 'ns')
}

async function turn(dispatcher: Dispatcher, origin: string, count: number): Promise<Turn> {
  const startedAt = performance.now()
  const latencies = [...(await requests(dispatcher, origin, count))].sort((a, b) => a - b)
  const duration = performance.now() - startedAt

  return { each: (duration * 1e6) / count, p99: latencies[Math.floor(count * 0.99)]! * 1e6 }
}

/** It is made for one name with many addresses, and goes through its connections in turn: each is to the next replica. */
function roundRobinPool(origins: readonly string[]): RoundRobinPool {
  const connect = buildConnector({})
  let turn = 0
  return new RoundRobinPool(origins[0]!, {
    connections: CALLERS + 1, // 65: as many to each of the five
    connect(options, callback) {
      const { hostname, port } = new URL(origins[turn++ % origins.length]!)
      connect({ ...options, hostname, host: `${hostname}:${port}`, port }, callback)
    },
  })
}

function named(name: string): Subject {
  return { name, run: () => Promise.reject(new Error('measured already')) }
}
