import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import {
  type BalancerFactory,
  createDiscovery,
  type Discovery,
  fixed,
  leastRequest,
  peakEwma,
  roundRobin,
} from '@msx/discovery'
import {
  type Benchmark,
  type Comparison,
  type Effort,
  measure,
  type Row,
  type Subject,
  spread,
} from '../harness/index.js'

/** At most so many ns for a pick and its end. */
const LIMIT = 150
const SIZES = [3, 10, 100, 1_000]

/** A lease and the numbers in it. */
const BYTES_LIMIT = 160

/** A pick and its end, of which the latency is learned: what discovery adds to a request. */
export const pick: Benchmark = {
  name: 'pick',
  async *run(effort) {
    for (const size of SIZES) yield await compared(size, effort)
    yield await allocated(effort)
  },
}

async function compared(size: number, effort: Effort): Promise<Comparison> {
  const opened: Discovery[] = []
  const picking = async (name: string, balancer: BalancerFactory): Promise<Subject> => {
    const { discovery, service } = await place(size, balancer)
    opened.push(discovery)
    return looped(name, service, "thing.pick().done('success')")
  }
  const subjects = [
    await picking('peakEwma(), the default', peakEwma()),
    await picking('leastRequest()', leastRequest()),
    await picking('roundRobin()', roundRobin()),
    looped('the time, read twice', performance, 'thing.now() + thing.now()'),
  ]

  const samples = await measure(subjects, effort, 'cpu')
  for (const discovery of opened) await discovery.close()

  const rows = subjects.map((subject): Row => {
    const amount = spread(samples.get(subject)!)
    if (subject !== subjects[0]) return { name: subject.name, role: 'peer', amount }
    return { name: subject.name, role: 'ours', amount, target: target(amount.median, LIMIT) }
  })
  return { title: `pick and done, ${size.toLocaleString('en')} endpoints`, unit: 'ns/request', rows }
}

/** What a lease weighs while its request is under way. */
async function allocated({ rounds }: Effort): Promise<Comparison> {
  const collect = collector()
  const { discovery, service } = await place(3, peakEwma())
  const held = new Array<object>(20_000).fill(service)
  const fill = () => {
    const before = process.memoryUsage().heapUsed
    for (let i = 0; i < held.length; i++) held[i] = service.pick()
    const bytes = (process.memoryUsage().heapUsed - before) / held.length
    for (const lease of held) (lease as ReturnType<typeof service.pick>).done('success')
    return bytes
  }
  const samples: number[] = []
  for (let round = -3; round < rounds; round++) {
    collect()
    const bytes = fill()
    if (round >= 0) samples.push(bytes)
  }
  await discovery.close()

  const amount = spread(samples)
  const row: Row = { name: '@msx/discovery', role: 'ours', amount, target: target(amount.median, BYTES_LIMIT) }
  return { title: 'Memory of a lease whose request is under way', unit: 'bytes each', rows: [row] }
}

/** Not from --expose-gc: with that, garbage would be collected before each round of every benchmark. See discovery.md. */
function collector(): () => void {
  setFlagsFromString('--expose-gc')
  return runInNewContext('gc') as () => void
}

function target(median: number, limit: number): Row['target'] {
  return { of: 'amount', limit, kind: 'target', reached: median <= limit }
}

async function place(size: number, balancer: BalancerFactory) {
  const addresses = Array.from({ length: size }, (_, index) => `http://10.0.${index >> 8}.${index & 255}:3000`)
  const discovery = createDiscovery({ source: fixed({ users: addresses }), balancer })
  const service = discovery.service('users')
  await service.ready()
  return { discovery, service }
}

/** In a loop of its own: V8 keeps what it learns of a call with the code. */
function looped<T>(name: string, thing: T, call: string): Subject {
  const loop = new Function('thing', 'calls', `for (let i = 0; i < calls; i++) ${call}`) as (
    thing: T,
    calls: number,
  ) => void
  return { name, run: async (calls) => loop(thing, calls) }
}
