import { createHook } from 'node:async_hooks'
import type Opossum from 'opossum'
import type { Benchmark, Comparison, Effort, Row } from '../harness/index.js'
import { spread } from '../harness/index.js'
import { breakers } from './policies.js'
import { ANSWER } from './work.js'

/** What a breaker holds while nobody calls it. Each has been called once. */
export const rest: Benchmark = {
  name: 'rest',
  async *run(effort) {
    yield await heap(effort)
    yield await timers()
  },
}

/** The breakers of one library. */
interface Resident {
  readonly name: string
  /** Makes a breaker and uses it once. */
  make(): Promise<object>
  close(breaker: object): void
}

const OURS: Resident = {
  name: '@msx/circuit-breaker',
  async make() {
    const breaker = breakers.msx()
    await breaker.execute(work)
    return breaker
  },
  close() {},
}

const COCKATIEL: Resident = {
  name: 'cockatiel',
  async make() {
    const breaker = breakers.cockatiel()
    await breaker.execute(work)
    return breaker
  },
  close() {},
}

const OPOSSUM: Resident = {
  name: 'opossum',
  async make() {
    const breaker = breakers.opossum(work)
    await breaker.fire()
    return breaker
  },
  close: (breaker) => (breaker as Opossum).shutdown(),
}

const RESIDENTS = [OURS, COCKATIEL, OPOSSUM]
const HEAP_LIMIT = 1_536

async function heap({ rounds, slice }: Effort): Promise<Comparison> {
  if (globalThis.gc === undefined) throw new Error('rest: heap can only be measured under node --expose-gc')
  // The first round also pays for code and feedback, which all breakers share.
  const count = slice > 0 ? 2_000 : 500

  const samples = new Map<Resident, number[]>(RESIDENTS.map((resident) => [resident, []]))
  for (let round = 0; round <= Math.min(rounds, 5); round++) {
    for (const resident of RESIDENTS) {
      const bytes = await bytesEach(resident, count)
      if (round > 0) samples.get(resident)!.push(bytes)
    }
  }

  return {
    title: 'Memory of a breaker at rest, off-heap buffers included',
    unit: 'bytes each',
    rows: RESIDENTS.map((resident) => amountRow(resident, samples.get(resident)!, HEAP_LIMIT)),
  }
}

async function bytesEach(resident: Resident, count: number): Promise<number> {
  const held = new Array<object>(count).fill(resident)
  const before = await settledMemory()
  for (let i = 0; i < count; i++) held[i] = await resident.make()
  const after = await settledMemory()

  for (const breaker of held) resident.close(breaker)
  return (after - before) / count
}

async function settledMemory(): Promise<number> {
  await turn()
  globalThis.gc?.()
  await turn()
  globalThis.gc?.()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

/** Timers that exist because the breaker does, also those that do not hold the process. */
async function timers(): Promise<Comparison> {
  const rows: Row[] = []
  for (const resident of RESIDENTS) rows.push(amountRow(resident, [await timersOf(resident)], 0))
  return { title: 'Timers of a breaker at rest', unit: 'timers', rows }
}

async function timersOf(resident: Resident): Promise<number> {
  const alive = new Set<number>()
  const hook = createHook({
    init(id, type) {
      if (type === 'Timeout') alive.add(id)
    },
    destroy(id) {
      alive.delete(id)
    },
  })

  hook.enable()
  const breaker = await resident.make()
  await turn()
  await turn()
  hook.disable()

  resident.close(breaker)
  return alive.size
}

function amountRow(resident: Resident, samples: readonly number[], limit: number): Row {
  const amount = spread(samples)
  if (resident !== OURS) return { name: resident.name, role: 'peer', amount }

  const reached = amount.median <= limit
  return { name: resident.name, role: 'ours', amount, target: { of: 'amount', limit, kind: 'target', reached } }
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

async function work(): Promise<number> {
  return ANSWER
}
