import { type Comparison, type Effort, judge, orderOf, type Peer, THOROUGH } from '../harness/index.js'
import { type Interference, tellOf, watchMachine } from './interference.js'
import { fullLoad, type Turn, validate } from './load.js'
import { type Backend, has, type Started, startBackend, startGateway, startNginx } from './processes.js'

export const NGINX = 'nginx'

export interface Plan {
  readonly rounds: number
  /** How long a turn is, in ms. */
  readonly ms: number
  /** How many requests each answers before anything counts. */
  readonly warmUp: number
}

/** Many short rounds: what else the machine does then falls on all alike, and few rounds are spoilt by it. */
const FULL: Plan = { rounds: 11, ms: 1_000, warmUp: 200_000 }
const SHORT: Plan = { rounds: 3, ms: 1_000, warmUp: 10_000 }

export const planOf = (effort: Effort): Plan => (effort === THOROUGH ? FULL : SHORT)

/** A turn, and the nanoseconds of processor time that the gateway had for each request. */
export interface Taken extends Turn {
  readonly cpu: number
  readonly machine: Interference
}

/** Nobody can measure without a load. */
export function canLoad(name: string): boolean {
  if (has('wrk')) return true

  console.warn(`Skipped ${name}: wrk is not installed (apt-get install wrk).\n`)
  return false
}

/** Runs with gateways that have been under load until V8 had seen enough, each in a process of its own. */
export async function withGateways<T>(
  names: readonly string[],
  warmUp: number,
  run: (gateways: readonly (readonly [string, Started])[], backend: Backend) => Promise<T>,
): Promise<T> {
  const backend = await startBackend()
  const gateways: [string, Started][] = []
  try {
    for (const name of names) gateways.push([name, await startOne(name, backend)])
    for (const [, { port, token }] of gateways) {
      await validate(port, token)
      await warm(port, token, warmUp)
    }
    const result = await run(gateways, backend)
    for (const [, { port, token }] of gateways) await validate(port, token)
    return result
  } finally {
    for (const [, gateway] of gateways) await gateway.stop()
    await backend.stop()
  }
}

/** Nobody is waited for longer, in ms: who answers a thousand requests a second has then seen enough, too. */
const LONGEST = 20_000

/** Under full load until V8 has seen enough, which is a matter of requests and not of time. */
export async function warm(port: number, token: string | undefined, requests: number): Promise<void> {
  const until = performance.now() + LONGEST
  for (let seen = 0; seen < requests && performance.now() < until; ) {
    seen += (await fullLoad(port, token, 2_000, { cold: true })).requests
  }
}

/** Every gateway takes its turn in every round, each round in another order. */
export function inTurns(names: readonly string[], { rounds, ms, warmUp }: Plan): Promise<ReadonlyMap<string, Taken[]>> {
  return withGateways(names, warmUp, async (gateways, backend) => {
    const turns = new Map<string, Taken[]>(names.map((name) => [name, []]))
    for (let round = 0; round < rounds; round += 1) {
      for (const [name, gateway] of orderOf(round, gateways)) {
        // After the seconds in which the others had their turns it begins slower than it goes on.
        await fullLoad(gateway.port, gateway.token, ms, { cold: true })
        turns.get(name)!.push(await turnOf(name, gateway, backend, ms))
      }
    }
    return turns
  })
}

function startOne(name: string, { port }: Backend): Promise<Started> {
  const upstream = `http://127.0.0.1:${port}`

  return name === NGINX ? startNginx(upstream) : startGateway(name, upstream)
}

/** A gateway that left its core idle was not what the run waited for, and its figure says little. */
const BUSY = 0.85

async function turnOf(name: string, gateway: Started, backend: Backend, ms: number): Promise<Taken> {
  const [asked, cpu, at] = [await backend.asked(), gateway.cpu(), performance.now()]
  const since = watchMachine()
  const turn = await fullLoad(gateway.port, gateway.token, ms)
  const spent = gateway.cpu() - cpu
  const wall = performance.now() - at
  const machine = since()
  const forwarded = (await backend.asked()) - asked
  if (forwarded < turn.requests) {
    throw new Error(`${name}: ${turn.requests} answers, but the upstream was asked only ${forwarded} times`)
  }
  if (spent / wall < BUSY) console.warn(`${name} was busy for only ${Math.round((spent / wall) * 100)}% of a turn.`)
  tellOf(name, machine)

  return { ...turn, cpu: (spent * 1e6) / turn.requests, machine }
}

export type Limits = Readonly<Record<string, { readonly target?: number; readonly goal?: number }>>

/** The same subjects, to be looked at without a limit. */
export const information = (limits: Limits): Limits => Object.fromEntries(Object.keys(limits).map((name) => [name, {}]))

export function contested(
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
