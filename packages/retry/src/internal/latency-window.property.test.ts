import fc from 'fast-check'
import { expect, it } from 'vitest'
import { LatencyWindow } from './latency-window.js'

it('knows the 95th percentile of the last hundred, at most ten calls late', () => {
  fc.assert(
    fc.property(fc.array(fc.double({ min: 0, max: 1e6, noNaN: true }), { maxLength: 400 }), (latencies) => {
      const window = new LatencyWindow()
      for (const latency of latencies) window.record(latency)

      const seen = latencies.slice(0, latencies.length - (latencies.length % 10))
      const last = seen.slice(-100).sort((a, b) => a - b)
      const expected = seen.length < 20 ? undefined : last[Math.ceil(last.length * 0.95) - 1]
      expect(window.p95).toBe(expected)
    }),
  )
})
