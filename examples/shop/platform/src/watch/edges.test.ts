import { circuitBreaker } from '@msx/circuit-breaker'
import { Registry } from 'prom-client'
import { expect, it } from 'vitest'
import { createEdges } from './edges.js'

function clock() {
  let now = 0
  return {
    now: () => now,
    pass(ms: number) {
      now += ms
    },
  }
}

it('says how often, how long and with what success another service was called of late', () => {
  const time = clock()
  const edges = createEdges(time.now)
  const meter = edges.meter('stock', 'http')

  for (let ms = 1; ms <= 100; ms++) meter.call(ms, ms > 10)
  meter.retry()
  meter.reject()

  expect(edges.snapshot()).toEqual([
    {
      to: 'stock',
      kind: 'http',
      rate: 10,
      failures: 0.1,
      p95: 95,
      retries: 1,
      rejected: 1,
      breaker: undefined,
      breakers: [],
    },
  ])
})

it('forgets what is older than ten seconds', () => {
  const time = clock()
  const edges = createEdges(time.now)
  edges.meter('stock', 'http').call(7, false)

  time.pass(9_000)
  edges.meter('stock', 'http').call(3, true)
  expect(edges.snapshot()).toMatchObject([{ rate: 0.2, failures: 0.5, p95: 7 }])

  time.pass(2_000)
  expect(edges.snapshot()).toMatchObject([{ rate: 0.1, failures: 0, p95: 3 }])

  time.pass(60_000)
  expect(edges.snapshot()).toMatchObject([{ rate: 0, failures: 0, p95: 0 }])
})

it('follows the calls through a breaker, and shows the state of the worst of several', async () => {
  const edges = createEdges()
  const [tired, well] = ['tired', 'well'].map((name) => circuitBreaker({ name, trip: { failures: 2 } }))
  edges.watch('stock', 'grpc', tired!)
  edges.watch('stock', 'grpc', well!)

  await well!.execute(() => 'fine')
  for (let i = 0; i < 3; i++) await tired!.execute(() => Promise.reject(new Error('no'))).catch(() => undefined)

  expect(edges.snapshot()).toMatchObject([
    {
      to: 'stock',
      kind: 'grpc',
      breaker: 'open',
      rejected: 1,
      breakers: [
        { name: 'tired', state: 'open' },
        { name: 'well', state: 'closed' },
      ],
    },
  ])
  expect(edges.snapshot()[0]?.rate).toBeCloseTo(0.3)
})

it('shows its breakers to Prometheus, also those that come later', async () => {
  const edges = createEdges()
  const registry = new Registry()
  edges.watch('stock', 'http', circuitBreaker({ name: 'early' }))
  edges.measure(registry)
  edges.watch('stock', 'http', circuitBreaker({ name: 'late' }))

  const text = await registry.metrics()

  expect(text).toContain('circuit_breaker_state{name="early",state="closed"} 1')
  expect(text).toContain('circuit_breaker_state{name="late",state="closed"} 1')
})
