import { expect, it } from 'vitest'
import { circuitBreaker } from './circuit-breaker.js'
import { circuitRegistry } from './registry.js'
import { VirtualClock } from './test-support.js'

function registryOf(max?: number, clock = new VirtualClock()) {
  const made: string[] = []
  const registry = circuitRegistry(
    (name) => {
      made.push(name)
      return circuitBreaker({ name, clock, trip: { minimumCalls: 2, window: { duration: 1_000 } } })
    },
    { max },
  )
  const keys = () => [...registry.entries()].map(([key]) => key).sort()

  return { registry, made, keys }
}

it('makes one circuit per key', () => {
  const { registry, made } = registryOf()

  const a = registry.get('a')
  registry.get('b')

  expect(registry.get('a')).toBe(a)
  expect(made).toEqual(['a', 'b'])
  expect(registry.size).toBe(2)
})

it('drops the circuit unused for longest when there are too many', () => {
  const { registry, keys } = registryOf(2)
  registry.get('a')
  registry.get('b')
  registry.get('a')

  registry.get('c')

  expect(keys()).toEqual(['a', 'c'])
})

it('never drops a circuit that holds failures, is in use, or is not closed', () => {
  const { registry, keys } = registryOf(1)
  registry.get('failed').tryAcquire()?.fail()
  registry.get('busy').tryAcquire()
  registry.get('isolated').isolate()
  registry.get('disabled').disable()
  const open = registry.get('open')
  open.tryAcquire()?.fail()
  open.tryAcquire()?.fail()

  registry.get('idle')
  registry.get('last')

  expect(keys()).toEqual(['busy', 'disabled', 'failed', 'isolated', 'last', 'open'])
})

it('drops a circuit once its failures have grown old', () => {
  const clock = new VirtualClock()
  const { registry, keys } = registryOf(1, clock)
  registry.get('a').tryAcquire()?.fail()
  registry.get('b').tryAcquire()?.fail()
  expect(keys()).toEqual(['a', 'b'])

  clock.advance(1_000)
  registry.get('c')

  expect(keys()).toEqual(['c'])
})

it('stays at its size under keys without end', () => {
  const { registry } = registryOf(100)

  for (let i = 0; i < 5_000; i++) registry.get(`host-${i}`).tryAcquire()?.succeed()

  expect(registry.size).toBe(100)
})

it('has a circuit by the time it tells of it', () => {
  let made = 0
  const circuits = circuitRegistry((name) => {
    made++
    return circuitBreaker({ name })
  })
  const told: unknown[] = []
  circuits.on('added', ({ key }) => told.push(circuits.get(key)))

  const circuit = circuits.get('a')

  expect(told).toEqual([circuit])
  expect(made).toBe(1)
})

it('tells of the circuits it makes and drops', () => {
  const circuits = circuitRegistry((name) => circuitBreaker({ name }), { max: 2 })
  const told: string[] = []
  const stop = circuits.on('added', ({ key, circuit }) => told.push(`+${key} ${circuit.name}`))
  circuits.on('dropped', ({ key, circuit }) => told.push(`-${key} ${circuit.name}`))

  for (const key of ['a', 'b', 'a', 'c']) circuits.get(key)
  stop()
  circuits.get('d')

  expect(told).toEqual(['+a a', '+b b', '-b b', '+c c', '-a a'])
  expect(() => circuits.on('removed' as never, () => undefined)).toThrow(/^event must be .*, got "removed"$/)
})
