import type { Input, Runner } from './runners.js'

let count = 0
const next = (): Input => ({ order: `order-${++count}`, amount: count % 100 })

export interface Flow {
  readonly sagas: number
  readonly nsEach: number
}

/** Keeps so many sagas in flight until `ms` have passed and the last has ended. */
export async function flow(runner: Runner, inFlight: number, ms: number, steps: number): Promise<Flow> {
  const startedAt = performance.now()
  let ended = 0
  const lane = async (): Promise<void> => {
    while (performance.now() - startedAt < ms) {
      await ran(runner, steps)
      ended += 1
    }
  }
  await Promise.all(Array.from({ length: inFlight }, lane))
  return { sagas: ended, nsEach: ((performance.now() - startedAt) * 1e6) / ended }
}

/** So many sagas, one after the other, and the median of their times in ns. */
export async function oneByOne(runner: Runner, sagas: number, steps: number): Promise<number> {
  const took: number[] = []
  for (let made = 0; made < sagas; made += 1) {
    const startedAt = performance.now()
    await ran(runner, steps)
    took.push((performance.now() - startedAt) * 1e6)
  }
  return took.sort((a, b) => a - b)[Math.floor(sagas / 2)]!
}

/** Runs a saga of so many steps, and does not take another answer for its result. */
export async function ran(runner: Runner, steps: number): Promise<void> {
  const result = await runner.run(next())
  if (result !== steps) throw new Error(`${runner.name}: a saga ended with ${JSON.stringify(result)}, not ${steps}`)
}
