import client, { Registry } from 'prom-client'
import { expect, it } from 'vitest'
import { adaptiveThrottle } from '../adaptive-throttle.js'
import { bulkhead } from '../bulkhead.js'
import { circuitBreaker } from '../circuit-breaker.js'
import { circuitRegistry } from '../registry.js'
import { deferred, errorOf, VirtualClock } from '../test-support.js'
import { prometheus } from './metrics.js'

const fails = () => Promise.reject(new Error('503'))

function measured(prefix?: string) {
  const registry = new Registry()
  const metrics = prometheus({ client, registry, prefix })
  /** The lines of the exposition that begin so, without the comments. */
  const lines = async (start: string) =>
    (await registry.metrics()).split('\n').filter((line) => line.startsWith(start) && !line.endsWith(' 0'))
  return { registry, metrics, lines }
}

it('counts calls by how they ended', async () => {
  const { metrics, lines } = measured()
  const circuit = circuitBreaker({ name: 'inventory', trip: { failures: 2 } })
  metrics.add(circuit)

  await circuit.execute(() => 1)
  await errorOf(circuit.execute(() => Promise.reject({ code: 'MSX_THROTTLED' })))
  for (let call = 1; call <= 5; call++) await errorOf(circuit.execute(fails))

  expect(await lines('circuit_breaker_calls_total')).toEqual([
    'circuit_breaker_calls_total{name="inventory",outcome="success"} 1',
    'circuit_breaker_calls_total{name="inventory",outcome="ignore"} 1',
    'circuit_breaker_calls_total{name="inventory",outcome="failure"} 2',
    'circuit_breaker_calls_total{name="inventory",outcome="rejected"} 3',
  ])
  expect(await lines('circuit_breaker_transitions_total')).toEqual([
    'circuit_breaker_transitions_total{name="inventory",to="open"} 1',
  ])
})

it('measures in seconds how long calls took', async () => {
  const { metrics, lines } = measured()
  const clock = new VirtualClock()
  const circuit = circuitBreaker({ name: 'inventory', clock })
  metrics.add(circuit)

  await circuit.execute(() => clock.advance(250))

  expect(await lines('circuit_breaker_call_duration_seconds_sum')).toEqual([
    'circuit_breaker_call_duration_seconds_sum{name="inventory"} 0.25',
  ])
})

it('shows the state a call would meet, without a call', async () => {
  const { metrics, lines } = measured()
  const clock = new VirtualClock()
  const circuit = circuitBreaker({ name: 'inventory', trip: { failures: 1 }, openDuration: 100, clock })
  metrics.add(circuit)
  const shown = () => lines('circuit_breaker_state')

  expect(await shown()).toEqual(['circuit_breaker_state{name="inventory",state="closed"} 1'])
  await errorOf(circuit.execute(fails))
  expect(await shown()).toEqual(['circuit_breaker_state{name="inventory",state="open"} 1'])
  clock.advance(100)
  expect(await shown()).toEqual(['circuit_breaker_state{name="inventory",state="half-open"} 1'])
})

it('shows each state of a circuit, as 0 or 1', async () => {
  const { registry, metrics } = measured()
  metrics.add(circuitBreaker({ name: 'inventory' }))

  const gauge = await registry.getSingleMetric('circuit_breaker_state')?.get()

  expect(gauge?.values.map(({ labels: { state }, value }) => [state, value])).toEqual([
    ['closed', 1],
    ['open', 0],
    ['half-open', 0],
    ['isolated', 0],
    ['disabled', 0],
  ])
})

it('adds up circuits of the same name', async () => {
  const { metrics, lines } = measured()
  for (let i = 0; i < 3; i++) metrics.add(circuitBreaker({ name: 'twin' }))

  expect(await lines('circuit_breaker_state')).toEqual(['circuit_breaker_state{name="twin",state="closed"} 3'])
})

it('measures each circuit of a registry, until it is dropped', async () => {
  const { metrics, lines } = measured()
  const circuits = circuitRegistry((name) => circuitBreaker({ name }), { max: 2 })
  circuits.get('a')
  metrics.add(circuits)
  circuits.get('b')
  await circuits.get('b').execute(() => 1)
  circuits.get('c')

  expect(await lines('circuit_breaker_state')).toEqual([
    'circuit_breaker_state{name="b",state="closed"} 1',
    'circuit_breaker_state{name="c",state="closed"} 1',
  ])
  expect(await lines('circuit_breaker_calls_total')).toEqual([
    'circuit_breaker_calls_total{name="b",outcome="success"} 1',
  ])
})

it('shows bulkheads and throttles', async () => {
  const { metrics, lines } = measured()
  const slots = bulkhead({ name: 'reports', concurrency: 1, queue: 1 })
  const throttle = adaptiveThrottle({ name: 'search' })
  metrics.add(slots)
  metrics.add(throttle)

  const pending = deferred()
  const calls = [slots.execute(() => pending.promise), slots.execute(() => 1)]
  await errorOf(throttle.execute(fails))

  expect(await lines('bulkhead_')).toEqual([
    'bulkhead_concurrency{name="reports"} 1',
    'bulkhead_in_flight{name="reports"} 1',
    'bulkhead_queued{name="reports"} 1',
  ])
  expect(await lines('throttle_')).toEqual(['throttle_rejection_rate{name="search"} 0.5'])
  pending.resolve()
  await Promise.all(calls)
})

it('counts what bulkheads and throttles turn away', async () => {
  const { metrics, lines } = measured()
  const slots = bulkhead({ name: 'reports', concurrency: 1 })
  const throttle = adaptiveThrottle({ name: 'search', random: () => 0 })
  metrics.add(slots)
  const remove = metrics.add(throttle)

  const pending = deferred()
  const running = slots.execute(() => pending.promise)
  for (let call = 1; call <= 2; call++) await errorOf(slots.execute(() => 1))
  for (let call = 1; call <= 4; call++) await errorOf(throttle.execute(fails))
  remove()
  await errorOf(throttle.execute(fails))

  expect(await lines('bulkhead_rejected_total')).toEqual(['bulkhead_rejected_total{name="reports"} 2'])
  expect(await lines('throttle_rejected_total')).toEqual(['throttle_rejected_total{name="search"} 3'])
  pending.resolve()
  await running
})

it('stops when told, and does not count twice what was added twice', async () => {
  const { metrics, lines } = measured()
  const circuit = circuitBreaker({ name: 'inventory' })
  const circuits = circuitRegistry((name) => circuitBreaker({ name }))
  const remove = metrics.add(circuit)
  metrics.add(circuit)
  const removeAll = metrics.add(circuits)
  await circuit.execute(() => 1)
  await circuits.get('a').execute(() => 1)

  expect(await lines('circuit_breaker_state')).toHaveLength(2)

  remove()
  removeAll()
  await circuit.execute(() => 1)
  await circuits.get('a').execute(() => 1)
  await circuits.get('late').execute(() => 1)

  expect(await lines('circuit_breaker_calls_total')).toEqual([
    'circuit_breaker_calls_total{name="inventory",outcome="success"} 1',
    'circuit_breaker_calls_total{name="a",outcome="success"} 1',
  ])
  expect(await lines('circuit_breaker_state')).toEqual([])
})

it('has no more than a thousand names', async () => {
  const { metrics, lines } = measured()
  for (let i = 0; i < 1_010; i++) metrics.add(circuitBreaker({ name: `host-${i}` }))

  const shown = await lines('circuit_breaker_state')
  expect(shown).toHaveLength(1_001)
  expect(shown).toContain('circuit_breaker_state{name="other",state="closed"} 10')
})

it('puts a prefix before each name', async () => {
  const { registry } = measured('shop_')
  const names = (await registry.getMetricsAsJSON()).map(({ name }) => name)

  expect(names.length).toBeGreaterThan(0)
  expect(names.filter((name) => !name.startsWith('shop_'))).toEqual([])
})

it('has the metrics that the README lists', async () => {
  const { readFile } = await import('node:fs/promises')
  const readme = await readFile(new URL('../../README.md', import.meta.url), 'utf8')
  const { registry } = measured()
  const documented = [...readme.matchAll(/^\| `([a-z_]+)` +\| `msx\./gm)].map(([, name]) => name)

  expect(documented.sort()).toEqual((await registry.getMetricsAsJSON()).map(({ name }) => name).sort())
})

it.each([
  ['prometheus options', undefined],
  ['client', { registry: new Registry() }],
  ['prefix', { client, registry: new Registry(), prefix: 7 }],
])('refuses wrong %s', (option, options) => {
  expect(() => prometheus(options as never)).toThrow(new RegExp(`^${option} must be `))
})

it('refuses to add what has no numbers', () => {
  const { metrics } = measured()
  expect(() => metrics.add({} as never)).toThrow('thing must be a circuit')
  expect(() => metrics.add(undefined as never)).toThrow('thing must be an object, got undefined')
})
