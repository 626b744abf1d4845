import { getEventListeners } from 'node:events'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, it } from 'vitest'
import { type CircuitBreaker, circuitBreaker } from './circuit-breaker.js'

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

/** Bytes in use after everything unreachable is gone, buffers outside of the heap included. */
function bytesInUse(): number {
  for (let i = 0; i < 3; i++) collectGarbage()
  const { heapUsed, arrayBuffers } = process.memoryUsage()
  return heapUsed + arrayBuffers
}

const timers = () =>
  process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout' || kind === 'Immediate').length

it('a circuit at rest takes less than 1.5 KB and no timer', () => {
  const COUNT = 5_000
  const circuits: CircuitBreaker[] = [circuitBreaker()]
  const timersBefore = timers()
  const before = bytesInUse()

  for (let i = 0; i < COUNT; i++) circuits.push(circuitBreaker({ name: 'inventory' }))

  expect((bytesInUse() - before) / COUNT).toBeLessThan(1_500)
  expect(timers()).toBe(timersBefore)
  expect(circuits).toHaveLength(COUNT + 1)
})

it('a million calls with the same signal leave no listener, no timer and no memory behind', async () => {
  const CALLS = 1_000_000
  const { signal } = new AbortController()
  const breaker = circuitBreaker({ trip: { failureRate: 1, minimumCalls: 1_000, window: { duration: 30_000 } } })
  const boom = new Error('boom')
  const works = async () => 1
  const fails = async () => {
    throw boom
  }
  const run = async (calls: number) => {
    for (let i = 0; i < calls; i++) {
      if (i % 100 === 0) await breaker.execute(fails, { signal }).catch(() => {})
      else await breaker.execute(works, { signal })
    }
  }
  await run(10_000)
  const timersBefore = timers()
  const before = bytesInUse()

  await run(CALLS)

  // Half a byte per call, which is room for what else the process does.
  expect(bytesInUse() - before).toBeLessThan(CALLS / 2)
  expect(getEventListeners(signal, 'abort')).toHaveLength(0)
  expect(timers()).toBe(timersBefore)
  expect(breaker.metrics.inFlight).toBe(0)
}, 60_000)
