import { readFile } from 'node:fs/promises'
import client, { Registry } from 'prom-client'
import { expect, it } from 'vitest'
import { roundRobin } from './balancers/round-robin.js'
import { createDiscovery } from './discovery.js'
import { type Measurable, prometheus } from './prometheus.js'
import { endpoint, ScriptedSource, VirtualClock } from './test-support.js'

function measured(prefix?: string) {
  const registry = new Registry()
  /** The lines of the exposition that begin so, without that beginning. */
  const lines = async (start: string) =>
    (await registry.metrics())
      .split('\n')
      .filter((line) => line.startsWith(start))
      .map((line) => line.slice(start.length))
  return { registry, lines, metrics: prometheus({ client, registry, prefix }) }
}

function discovered() {
  const source = new ScriptedSource()
  const clock = new VirtualClock()
  const discovery = createDiscovery({ source, clock, balancer: roundRobin(), outlier: { consecutiveFailures: 1 } })
  const users = discovery.service('users')
  return { source, clock, discovery, users }
}

it('counts picks and how they ended, also of endpoints that are gone', async () => {
  const { metrics, lines } = measured()
  const { source, discovery, users } = discovered()
  metrics.add(discovery)

  expect(() => users.pick()).toThrow()
  source.sink.update([endpoint('a')])
  users.pick().done('success')
  users.pick().done('cancelled')
  expect(await lines('discovery_picks_total')).toEqual(['{service="users"} 2'])
  source.sink.update([endpoint('b')])
  users.pick().done('failure')

  for (let reads = 0; reads < 2; reads++) {
    expect(await lines('discovery_picks_total')).toEqual(['{service="users"} 3'])
    expect(await lines('discovery_failures_total')).toEqual(['{service="users"} 1'])
    expect(await lines('discovery_cancellations_total')).toEqual(['{service="users"} 1'])
    expect(await lines('discovery_refusals_total')).toEqual(['{service="users"} 1'])
  }
})

it('shows endpoints by state, and tells of ejections and readmissions', async () => {
  const { metrics, lines } = measured()
  const { source, clock, discovery, users } = discovered()
  metrics.add(discovery)
  source.sink.update([endpoint('a'), endpoint('b')])

  users.pick().done('failure')
  const busy = users.pick()
  expect(await lines('discovery_endpoints')).toEqual([
    '{service="users",state="active"} 1',
    '{service="users",state="ejected"} 1',
  ])
  expect(await lines('discovery_inflight')).toEqual(['{service="users"} 1'])
  busy.done('success')
  clock.advance(40_000)
  users.pick().done('success')

  expect(await lines('discovery_endpoints')).toEqual([
    '{service="users",state="active"} 2',
    '{service="users",state="ejected"} 0',
  ])
  expect(await lines('discovery_inflight')).toEqual(['{service="users"} 0'])
  expect(await lines('discovery_ejections_total{')).toEqual(['service="users",reason="consecutive-failures"} 1'])
  expect(await lines('discovery_readmissions_total')).toEqual(['{service="users"} 1'])
})

it('shows that a source cannot be asked, and the version of the snapshot', async () => {
  const { metrics, lines } = measured()
  const { source, discovery } = discovered()
  metrics.add(discovery)
  source.sink.update([endpoint('a')])
  expect(await lines('discovery_stale')).toEqual(['{service="users"} 0'])
  expect(await lines('discovery_snapshot_version')).toEqual(['{service="users"} 1'])

  source.sink.fail(new Error('away'))
  source.sink.fail(new Error('still away'))

  expect(await lines('discovery_stale')).toEqual(['{service="users"} 1'])
  expect(await lines('discovery_snapshot_version')).toEqual(['{service="users"} 2'])
  expect(await lines('discovery_source_errors_total')).toEqual(['{service="users"} 2'])
})

it('counts once what is added twice, and nothing after it is removed', async () => {
  const { metrics, lines } = measured()
  const { source, discovery, users } = discovered()
  const remove = metrics.add(discovery)
  expect(metrics.add(discovery)).toBe(remove)
  source.sink.update([endpoint('a')])

  users.pick().done('success')
  remove()
  remove()
  source.sink.fail(new Error('away'))

  expect(await lines('discovery_picks_total')).toEqual(['{service="users"} 1'])
  expect(await lines('discovery_endpoints')).toEqual([])
  expect(await lines('discovery_source_errors_total')).toEqual([])
  metrics.add(discovery)
  expect(await lines('discovery_picks_total')).toEqual(['{service="users"} 1'])
})

it('adds up what two discoveries see of one service', async () => {
  const { metrics, lines } = measured()
  for (const { source, discovery, users } of [discovered(), discovered()]) {
    metrics.add(discovery)
    source.sink.update([endpoint('a')])
    users.pick().done('success')
  }

  expect(await lines('discovery_picks_total')).toEqual(['{service="users"} 2'])
  expect(await lines('discovery_endpoints{service="users",state="active"}')).toEqual([' 2'])
})

it('keeps what was counted when the discovery is closed', async () => {
  const { metrics, lines } = measured()
  const source = new ScriptedSource()
  const discovery = createDiscovery({ source, telemetry: metrics })
  const users = discovery.service('users')
  source.sink.update([endpoint('a')])
  users.pick().done('success')

  await discovery.close()

  expect(await lines('discovery_picks_total')).toEqual(['{service="users"} 1'])
  expect(await lines('discovery_endpoints')).toEqual([])
})

it('names no endpoint, and no more than a thousand services', async () => {
  const { metrics, lines, registry } = measured()
  const source = new ScriptedSource()
  const discovery = createDiscovery({ source })
  metrics.add(discovery)
  for (let i = 0; i < 1_005; i++) {
    const service = discovery.service(`s${i}`)
    source.watches[i]?.sink.update([{ id: 'the-id', host: '10.9.8.7', port: 1 }])
    service.pick().done('success')
  }

  expect(await lines('discovery_picks_total')).toHaveLength(1_001)
  expect(await lines('discovery_picks_total{service="other"}')).toEqual([' 5'])
  expect(await registry.metrics()).not.toMatch(/the-id|10\.9\.8\.7/)
})

it('has the metrics that the README lists, under a prefix', async () => {
  const { registry } = measured('shop_')
  const readme = await readFile(new URL('../README.md', import.meta.url), 'utf8')
  const documented = [...readme.matchAll(/^\| `(discovery_\w+)`/gm)].map((match) => `shop_${match[1]}`)

  expect(
    registry
      .getMetricsAsArray()
      .map(({ name }) => name)
      .sort(),
  ).toEqual(documented.sort())
})

it.each([
  [undefined, /options/],
  [{ client: {}, registry: {} }, /client/],
  [{ client, registry: undefined }, /registry/],
  [{ client, registry: new Registry(), prefix: 5 }, /prefix .* got 5/],
])('refuses wrong options (%#)', (options, message) => {
  expect(() => prometheus(options as never)).toThrow(TypeError)
  expect(() => prometheus(options as never)).toThrow(message)
})

it('measures discoveries only', () => {
  expect(() => measured().metrics.add({} as Measurable)).toThrow(/must be a Discovery/)
  expect(() => createDiscovery({ source: new ScriptedSource(), telemetry: {} as never })).toThrow(/telemetry must be/)
})
