import fc from 'fast-check'
import client, { Registry } from 'prom-client'
import { expect, test } from 'vitest'
import { createTallies } from './tallies.js'

const buckets = [0.005, 0.1, 1]
const requests = fc.array(
  fc.record({
    method: fc.constantFrom('GET', 'POST'),
    route: fc.constantFrom('/a/:id', '/b', 'say "x"\\'),
    status: fc.constantFrom(200, 404, 499),
    // Bounds, what lies between and what lies beyond; sums of such parts are exact, in any order.
    seconds: fc.constantFrom(0, 0.005, 0.0625, 0.5, 1, 2),
  }),
  { maxLength: 40 },
)

type Request = typeof requests extends fc.Arbitrary<(infer T)[]> ? T : never

/** The same told to the client itself, request by request. */
function reference(registry: Registry, given: readonly Request[]): void {
  const labels = { labelNames: ['method', 'route', 'status'], registers: [registry] }
  const total = new client.Counter({ name: 'http_requests_total', help: 'Requests answered.', ...labels })
  const help = 'Seconds from the arrival of a request to the end of its response.'
  const duration = new client.Histogram({ name: 'http_request_duration_seconds', help, buckets, ...labels })
  for (const { method, route, status, seconds } of given) {
    const row = { method, route, status: String(status) }
    total.inc(row)
    duration.observe(row, seconds)
  }
}

async function valuesOf(registry: Registry): Promise<string[]> {
  const metrics = (await registry.getMetricsAsJSON()) as {
    values?: { labels: object; value: number; metricName?: string }[]
  }[]

  return metrics
    .flatMap(({ values = [] }) => values)
    .map(({ labels, value, metricName }) => JSON.stringify([metricName, Object.entries(labels).sort(), value]))
    .sort()
}

const sorted = (text: string): string[] => text.split('\n').sort()

test.each([
  ['as text', Registry.PROMETHEUS_CONTENT_TYPE],
  ['as OpenMetrics', (Registry as unknown as { OPENMETRICS_CONTENT_TYPE: string }).OPENMETRICS_CONTENT_TYPE],
] as const)('a scrape reads what the client itself would tell, %s', async (_name, type) => {
  await fc.assert(
    fc.asyncProperty(requests, async (given) => {
      const [ours, theirs] = [new Registry(), new Registry()]
      for (const registry of [ours, theirs]) registry.setContentType(type as never)
      const count = createTallies(client, ours, buckets)
      for (const { method, route, status, seconds } of given) count(method, route, status, seconds)
      reference(theirs, given)

      for (const registry of [ours, theirs]) registry.setDefaultLabels({ service: 'gateway' })
      expect(sorted(await ours.metrics())).toEqual(sorted(await theirs.metrics()))
      expect(await valuesOf(ours)).toEqual(await valuesOf(theirs))
    }),
  )
})

test('begins anew when the registry is reset, and is counted by several processes together', async () => {
  const registry = new Registry()
  const count = createTallies(client, registry, buckets)
  count('GET', '/a', 200, 0.01)
  registry.resetMetrics()

  expect(await registry.metrics()).not.toContain('/a')
  count('GET', '/a', 200, 0.01)
  const two = [await registry.getMetricsAsJSON(), await registry.getMetricsAsJSON()]
  const text = await client.AggregatorRegistry.aggregate(two as never).metrics()

  expect(text).toContain('http_requests_total{method="GET",route="/a",status="200"} 2')
  expect(text).toContain('http_request_duration_seconds_count{method="GET",route="/a",status="200"} 2')
})

test('tells a client of each request that does not gather its values by itself', () => {
  const told: unknown[] = []
  const plain = {
    Counter: class {
      inc(labels: object) {
        told.push(labels)
      }
    },
    Histogram: class {
      observe(labels: object, value: number) {
        told.push([labels, value])
      }
    },
  }
  createTallies(plain, {}, buckets)('GET', '/a', 200, 0.25)

  const labels = { method: 'GET', route: '/a', status: '200' }
  expect(told).toEqual([labels, [labels, 0.25]])
})
