import { fileURLToPath } from 'node:url'
import { type Benchmark, type Comparison, judge, type Peer, type Row, spread, THOROUGH } from '../harness/index.js'
import { fullLoad, type Turn, validate } from './load.js'
import { type Backend, has, runLoad, type Started, startBackend, startGateway, startNginx } from './processes.js'

/** The packages whose versions belong to the figures. */
export const MEASURED = [
  '@msx/gateway-kit',
  'undici',
  '@fastify/http-proxy',
  'fastify',
  'express',
  'http-proxy-middleware',
  'express-jwt',
  'express-rate-limit',
] as const

const OURS = '@msx/gateway-kit, proxy()'
const OUR_CHAIN = '@msx/gateway-kit, full chain'
const BARE = 'http + undici dispatch'
const FASTIFY = '@fastify/http-proxy'
const EXPRESS = 'express + http-proxy-middleware, full chain'
const NGINX = 'nginx'

/** A turn, and the nanoseconds of processor time that the gateway had for each request. */
interface Taken extends Turn {
  readonly cpu: number
}

interface Plan {
  readonly rounds: number
  /** How long a turn is, in ms. */
  readonly ms: number
  /** The first turns, until V8 has seen enough. */
  readonly warmUp: number
}

const FULL: Plan = { rounds: 5, ms: 2_000, warmUp: 3_000 }
const SHORT: Plan = { rounds: 3, ms: 1_000, warmUp: 1_000 }

/** A limit is of our time over theirs: so many times as many requests a second are the inverse of the time. */
const faster = (times: number): number => Number((1 / times).toFixed(3))

/** As many requests a second as one core takes, and how long they take then. */
const throughput: Benchmark = {
  name: 'throughput',
  async *run(effort) {
    if (!has('wrk')) {
      console.warn('Skipped throughput: wrk is not installed (apt-get install wrk).\n')
      return
    }
    if (!has('nginx')) console.warn('Without nginx, for it is not installed (apt-get install nginx-light).\n')

    const names = [OURS, OUR_CHAIN, BARE, FASTIFY, EXPRESS, ...(has('nginx') ? [NGINX] : [])]
    const turns = await inTurns(names, effort === THOROUGH ? FULL : SHORT)
    const contest = (title: string, ours: string, limits: Limits, read: (turn: Taken) => number, unit: string) =>
      contested(title, ours, limits, (name) => turns.get(name)!.map(read), unit)

    const plain = {
      [FASTIFY]: { target: faster(1.7) },
      [BARE]: { goal: faster(0.85) },
      ...(has('nginx') && { [NGINX]: { goal: faster(0.6) } }),
    }
    const chain = { [FASTIFY]: { target: faster(1.5) }, [EXPRESS]: { target: faster(2) }, [OURS]: {} }
    const [time, core] = ['Requests as fast as they are answered', 'Processor time of the gateway']
    yield contest(`Plain proxy, GET 1 KiB. ${time}`, OURS, plain, ({ perRequest }) => perRequest, 'ns/request')
    yield contest(`Plain proxy, GET 1 KiB. ${core}`, OURS, information(plain), ({ cpu }) => cpu, 'ns/request')
    yield contest('Plain proxy, p99', OURS, { [FASTIFY]: { target: 1 }, [BARE]: {} }, ({ p99 }) => p99, 'µs')
    yield contest(`Full chain, GET 1 KiB. ${time}`, OUR_CHAIN, chain, ({ perRequest }) => perRequest, 'ns/request')
    yield contest(`Full chain, GET 1 KiB. ${core}`, OUR_CHAIN, information(chain), ({ cpu }) => cpu, 'ns/request')
    yield contest('Full chain, p99', OUR_CHAIN, { [EXPRESS]: { target: 1 } }, ({ p99 }) => p99, 'µs')
  },
}

const RATE = 2_000
/** Microseconds that a gateway may add. */
const ADDED = 2_000

/** What a gateway adds to the time of a request when it has air to breathe. */
const latency: Benchmark = {
  name: 'latency',
  async *run(effort) {
    const { rounds, ms } = effort === THOROUGH ? FULL : SHORT
    const backend = await startBackend()
    const gateways = new Map<string, Started>()
    try {
      for (const name of [OURS, OUR_CHAIN, FASTIFY]) gateways.set(name, await startGateway(name, originOf(backend)))
      const times = new Map<string, { p50: number; p99: number }[]>()
      const subjects: [string, Started][] = [['direct', backend], ...gateways]
      for (let round = -1; round < rounds; round += 1) {
        for (const [name, { port, token }] of subjects) {
          const timed = await paced(port, ms, token)
          if (round >= 0) times.set(name, [...(times.get(name) ?? []), timed])
        }
      }
      for (const percentile of ['p50', 'p99'] as const) yield added(percentile, times)
    } finally {
      for (const gateway of gateways.values()) await gateway.stop()
      await backend.stop()
    }
  },
}

export const BENCHMARKS: readonly Benchmark[] = [throughput, latency]

/** Every gateway takes its turn in every round, each round beginning with another one. */
async function inTurns(names: readonly string[], { rounds, ms, warmUp }: Plan): Promise<ReadonlyMap<string, Taken[]>> {
  const backend = await startBackend()
  const gateways: [string, Started][] = []
  const turns = new Map<string, Taken[]>(names.map((name) => [name, []]))
  try {
    for (const name of names) {
      gateways.push([
        name,
        await (name === NGINX ? startNginx : (to: string) => startGateway(name, to))(originOf(backend)),
      ])
    }
    for (const [, { port, token }] of gateways) {
      await validate(port, token)
      await fullLoad(port, token, warmUp)
    }
    for (let round = 0; round < rounds; round += 1) {
      for (const index of gateways.keys()) {
        const [name, gateway] = gateways[(index + round) % gateways.length]!
        turns.get(name)!.push(await turnOf(name, gateway, backend, ms))
      }
    }
    for (const [, { port, token }] of gateways) await validate(port, token)
  } finally {
    for (const [, gateway] of gateways) await gateway.stop()
    await backend.stop()
  }

  return turns
}

/** A gateway that left its core idle was not what the run waited for, and its figure says nothing. */
const BUSY = 0.85

async function turnOf(name: string, gateway: Started, backend: Backend, ms: number): Promise<Taken> {
  const [asked, cpu, at] = [await backend.asked(), gateway.cpu(), performance.now()]
  const turn = await fullLoad(gateway.port, gateway.token, ms)
  const spent = gateway.cpu() - cpu
  const busy = spent / (performance.now() - at)
  const forwarded = (await backend.asked()) - asked
  if (forwarded < turn.requests) {
    throw new Error(`${name}: ${turn.requests} answers, but the upstream was asked only ${forwarded} times`)
  }
  if (busy < BUSY) console.warn(`${name} was busy for only ${Math.round(busy * 100)}% of a turn.`)

  return { ...turn, cpu: (spent * 1e6) / turn.requests }
}

type Limits = Readonly<Record<string, { readonly target?: number; readonly goal?: number }>>

/** The same subjects, to be looked at without a limit. */
const information = (limits: Limits): Limits => Object.fromEntries(Object.keys(limits).map((name) => [name, {}]))

function contested(
  title: string,
  ours: string,
  limits: Limits,
  samples: (name: string) => readonly number[],
  unit: string,
): Comparison {
  const subject = (name: string): Peer => ({ name, run: () => Promise.resolve(), ...limits[name] })
  const us = subject(ours)
  const peers = Object.keys(limits).map(subject)

  return judge({ title, ours: us, peers }, new Map([us, ...peers].map((one) => [one, samples(one.name)])), unit)
}

async function paced(port: number, ms: number, token = ''): Promise<{ p50: number; p99: number }> {
  const script = fileURLToPath(new URL('gateway-paced.js', import.meta.url))
  const args = [script, String(port), String(RATE), String(ms), ...(token === '' ? [] : [token])]

  return JSON.parse(await runLoad(process.execPath, args)) as { p50: number; p99: number }
}

function added(
  percentile: 'p50' | 'p99',
  times: ReadonlyMap<string, readonly { readonly p50: number; readonly p99: number }[]>,
): Comparison {
  const micros = (name: string): number[] => times.get(name)!.map((timed) => timed[percentile] * 1_000)
  const direct = micros('direct')
  const rows = [...times.keys()].map((name): Row => {
    const amounts = micros(name)
    const more = spread(amounts.map((amount, round) => amount - direct[round]!))
    const ours = name === OURS || name === OUR_CHAIN
    const target = { of: 'amount', limit: ADDED, kind: 'target', reached: more.median <= ADDED } as const

    return {
      name,
      role: name === 'direct' ? 'bare' : ours ? 'ours' : 'peer',
      amount: spread(amounts),
      ...(name !== 'direct' && { added: more }),
      ...(ours && percentile === 'p99' && { target }),
    }
  })

  return { title: `${percentile} at ${RATE.toLocaleString('en')} requests a second`, unit: 'µs', rows }
}

const originOf = ({ port }: Started): string => `http://127.0.0.1:${port}`
