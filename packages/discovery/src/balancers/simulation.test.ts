import { describe, expect, it } from 'vitest'
import type { BalancerFactory } from '../balancer.js'
import { createDiscovery } from '../discovery.js'
import { endpoint, ScriptedSource, seeded, VirtualClock } from '../test-support.js'
import { peakEwma } from './peak-ewma.js'
import { roundRobin } from './round-robin.js'

interface Replica {
  /** Mean time to the answer, ms. */
  readonly latency: number
  readonly fails?: boolean
}

/** Requests at a steady rate against replicas, in virtual time, with the same random numbers in every run. */
function simulate(balancer: BalancerFactory, replicas: readonly Replica[]) {
  const clock = new VirtualClock()
  const random = seeded(42)
  const source = new ScriptedSource()
  // Without ejection: what is measured is the balancer's own doing.
  const discovery = createDiscovery({ source, balancer, clock, random: seeded(7), outlier: false })
  const service = discovery.service('users')
  source.sink.update(replicas.map((_, index) => endpoint(String.fromCharCode(97 + index))))
  const latencies: number[] = []

  for (let i = 0; i < 20_000; i++) {
    const lease = service.pick()
    const replica = replicas[lease.endpoint.id.charCodeAt(0) - 97]!
    // Exponential around the mean, as of a server with a queue.
    const latency = -Math.log(1 - random()) * replica.latency
    clock.after(latency, () => {
      latencies.push(latency)
      lease.done(replica.fails ? 'failure' : 'success')
    })
    clock.advance(1)
  }

  const picked = service.metrics.endpoints.map((each) => each.picked)
  const sorted = latencies.sort((a, b) => a - b)
  return {
    p99: sorted[Math.floor(sorted.length * 0.99)] ?? Number.NaN,
    shares: picked.map((count) => count / service.metrics.picked),
  }
}

describe('peakEwma, simulated', () => {
  it('has at most 0.34 of the p99 of round robin when one of five replicas is 20 times slower', () => {
    const replicas: Replica[] = [{ latency: 100 }, ...Array.from({ length: 4 }, () => ({ latency: 5 }))]

    const turns = simulate(roundRobin(), replicas)
    const ewma = simulate(peakEwma(), replicas)

    console.log(`p99: peak EWMA ${ewma.p99.toFixed(0)} ms, round robin ${turns.p99.toFixed(0)} ms`)
    expect(turns.shares[0]).toBeCloseTo(0.2, 2)
    expect(ewma.p99).toBeLessThanOrEqual(0.34 * turns.p99)
  }, 30_000)

  it('gives less than 2 % of the requests to one of five replicas that fails at once', () => {
    const replicas: Replica[] = [{ latency: 0.1, fails: true }, ...Array.from({ length: 4 }, () => ({ latency: 5 }))]

    const { shares } = simulate(peakEwma(), replicas)

    console.log(`the share of the replica that fails fast: ${((shares[0] ?? 1) * 100).toFixed(2)} %`)
    expect(shares[0]).toBeLessThan(0.02)
  }, 30_000)
})
