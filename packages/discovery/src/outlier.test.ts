import { beforeEach, describe, expect, it } from 'vitest'
import { randomChoice } from './balancers/random-choice.js'
import { roundRobin } from './balancers/round-robin.js'
import { createDiscovery, type Discovery, type DiscoveryOptions } from './discovery.js'
import type { EndpointInit } from './endpoint.js'
import type { Lease } from './lease.js'
import type { Service } from './service.js'
import { endpoint, ScriptedSource, seeded, VirtualClock } from './test-support.js'

let clock: VirtualClock
let source: ScriptedSource
let discovery: Discovery
let service: Service
let told: string[]

function start(endpoints: readonly EndpointInit[], options: Partial<DiscoveryOptions> = {}): void {
  clock = new VirtualClock()
  source = new ScriptedSource()
  // A random number of one half is a jitter of none.
  discovery = createDiscovery({ source, clock, balancer: roundRobin(), random: () => 0.5, emptyGrace: 0, ...options })
  service = discovery.service('orders')
  source.sink.update(endpoints)
  told = []
  discovery.on('ejected', ({ endpoint: { id }, reason, duration, times }) => {
    told.push(`${id} ejected: ${reason}, ${duration} ms, ${times}`)
  })
  discovery.on('readmitted', ({ endpoint: { id } }) => told.push(`${id} readmitted`))
}

/** So many requests that end as told by whom they went to. */
function send(requests: number, broken: ReadonlySet<string> = new Set()): string[] {
  return Array.from({ length: requests }, () => {
    const lease = service.pick()
    lease.done(broken.has(lease.endpoint.id) ? 'failure' : 'success')
    return lease.endpoint.id
  })
}

/** A lease for this endpoint. */
function leaseOf(id: string): Lease {
  const others = new Set(service.snapshot.endpoints.map((one) => one.id).filter((one) => one !== id))
  return service.pick({ exclude: others })
}

function fail(id: string, times = 5): void {
  const leases = Array.from({ length: times }, () => leaseOf(id))
  for (const lease of leases) lease.done('failure')
}

const only = (id: string) => new Set([id])
const shares = (ids: readonly string[]) => [...new Set(ids)].sort().join('')

beforeEach(() => start([endpoint('a'), endpoint('b'), endpoint('c')]))

describe('ejection', () => {
  it('leaves an endpoint alone after five failures in a row', () => {
    expect(shares(send(15, only('b')))).toBe('abc')

    expect(told).toEqual(['b ejected: consecutive-failures, 30000 ms, 1'])
    expect(shares(send(30))).toBe('ac')
    expect(service.metrics.endpoints.map(({ id, ejected }) => [id, ejected])).toEqual([
      ['a', false],
      ['b', true],
      ['c', false],
    ])
  })

  it('counts failures in a row: a success between them starts over, a caller who went away does not count', () => {
    fail('b', 4)
    leaseOf('b').done('success')
    fail('b', 4)
    leaseOf('b').done('cancelled')
    expect(told).toEqual([])

    fail('b', 1)
    expect(told).toHaveLength(1)
  })

  it('ejects one that always breaks after the first byte', () => {
    for (let i = 0; i < 5; i++) {
      const lease = leaseOf('b')
      lease.firstByte()
      lease.done('failure')
    }

    expect(told).toEqual(['b ejected: consecutive-failures, 30000 ms, 1'])
  })

  it.each([
    [1, ''],
    [2, 'b'],
    [3, 'b'],
    [4, 'bc'],
    [5, 'bc'],
  ])('takes no more than half of %i endpoints, and never the last', (count, ejected) => {
    const ids = ['b', 'c', 'd', 'e', 'f'].slice(0, count)
    start(ids.map((id) => endpoint(id)))

    for (const id of ids) fail(id)

    expect(
      service.metrics.endpoints
        .filter((one) => one.ejected)
        .map(({ id }) => id)
        .join(''),
    ).toBe(ejected)
  })

  it('can take all but the last when it is told so', () => {
    start([endpoint('a'), endpoint('b'), endpoint('c')], { outlier: { maxEjected: 1 } })

    for (const id of ['a', 'b', 'c']) fail(id)

    expect(shares(send(9))).toBe('c')
  })

  it('can be turned off', () => {
    start([endpoint('a'), endpoint('b')], { outlier: false })

    fail('b', 100)

    expect(shares(send(10))).toBe('ab')
  })

  it('looks at the success rate over a window when it is told to', () => {
    const successRate = { below: 0.5, minimumRequests: 10, window: 10_000 }
    start([endpoint('a'), endpoint('b')], { outlier: { consecutiveFailures: 0, successRate } })
    const halfBroken = () => {
      leaseOf('b').done('success')
      fail('b', 2)
    }

    for (let i = 0; i < 3; i++) halfBroken()
    clock.advance(20_000) // forgotten
    for (let i = 0; i < 3; i++) halfBroken()
    expect(told).toEqual([])

    leaseOf('b').done('failure')
    expect(told).toEqual(['b ejected: success-rate, 30000 ms, 1'])
  })
})

describe('the way back', () => {
  beforeEach(() => fail('b'))

  it('begins when the time is over, with one request', () => {
    clock.advance(29_999)
    expect(shares(send(10))).toBe('ac')
    clock.advance(1)

    const probe = service.pick()
    expect(probe.endpoint.id).toBe('b')
    expect(shares(send(10))).toBe('ac')

    probe.done('success')
    expect(told.at(-1)).toBe('b readmitted')
    expect(shares(send(9))).toBe('abc')
  })

  it('is open from the first byte of the answer', () => {
    clock.advance(30_000)
    const probe = service.pick()

    probe.firstByte()

    expect(told.at(-1)).toBe('b readmitted')
    probe.done('failure') // a first failure of five
    expect(shares(send(9))).toBe('abc')
  })

  it('is longer each time the request that tries fails, up to a limit', () => {
    start([endpoint('a'), endpoint('b')], { outlier: { maxEjectionTime: 70_000 } })
    fail('b')

    for (const duration of [30_000, 60_000, 70_000]) {
      clock.advance(duration)
      service.pick().done('failure')
    }

    expect(told).toEqual([
      'b ejected: consecutive-failures, 30000 ms, 1',
      'b ejected: failed-probe, 60000 ms, 2',
      'b ejected: failed-probe, 70000 ms, 3',
      'b ejected: failed-probe, 70000 ms, 4',
    ])
  })

  it('is shorter again after good times', () => {
    clock.advance(30_000)
    service.pick().done('failure')
    clock.advance(60_000)
    service.pick().done('success')

    clock.advance(10_000) // forgives one of the two
    fail('b')

    expect(told.at(-1)).toBe('b ejected: consecutive-failures, 60000 ms, 2')
  })

  it('is not shown by requests that were sent before', () => {
    start([endpoint('a'), endpoint('b')])
    const before = leaseOf('b')
    fail('b')

    before.done('success')
    expect(told).toHaveLength(1)
  })

  it('is tried by another request when the first is called off, or never ends', () => {
    clock.advance(30_000)
    service.pick().done('cancelled')
    const lost = service.pick()
    expect(lost.endpoint.id).toBe('b')
    expect(shares(send(4))).toBe('ac')

    clock.advance(30_000)
    expect(service.pick().endpoint.id).toBe('b')
  })

  it('respects what a request excludes', () => {
    clock.advance(30_000)

    expect(service.pick({ exclude: only('b') }).endpoint.id).not.toBe('b')
    expect(service.pick().endpoint.id).toBe('b')
  })

  it('does not lead past a better priority', () => {
    start([endpoint('a'), endpoint('b', { priority: 1 }), endpoint('c', { priority: 1 })])
    fail('b')
    clock.advance(30_000)

    expect(shares(send(5))).toBe('a')
  })

  it('is no shorter for an endpoint that left the registry for a moment', () => {
    source.sink.update([endpoint('a'), endpoint('c')])
    source.sink.update([endpoint('a'), endpoint('b'), endpoint('c')])

    expect(shares(send(9))).toBe('ac')
  })

  it('is open at once for an instance at another address', () => {
    source.sink.update([endpoint('a'), endpoint('b', { port: 9 }), endpoint('c')])

    expect(shares(send(9))).toBe('abc')
  })
})

describe('with nobody else left', () => {
  it('uses those who were ejected, and nobody whom the registry leaves out', () => {
    fail('b')
    source.sink.update([endpoint('b')])

    expect(shares(send(5, only('b')))).toBe('b')
  })

  it('goes to the next priority first', () => {
    start([endpoint('a'), endpoint('b', { priority: 1 }), endpoint('c', { priority: 1 })])

    fail('a')

    expect(shares(send(6))).toBe('bc')
  })
})

describe('slowStart', () => {
  const share = (id: string, requests = 2_000) => send(requests).filter((one) => one === id).length / requests

  it('gives a newcomer a tenth of its weight, and all of it in the end', () => {
    start([endpoint('a')], { slowStart: 10_000 })
    source.sink.update([endpoint('a'), endpoint('b')])

    expect(share('b')).toBeCloseTo(0.1 / 1.1, 2)
    clock.advance(5_000)
    expect(share('b')).toBeCloseTo(0.5 / 1.5, 2)
    clock.advance(5_000)
    expect(share('b')).toBeCloseTo(0.5, 2)
    expect(clock.pending).toBe(0)
  })

  it('is heeded by balancers that remember the weights', () => {
    start([endpoint('a')], { slowStart: 10_000, balancer: randomChoice(), random: seeded(7) })
    source.sink.update([endpoint('a'), endpoint('b')])

    expect(share('b')).toBeCloseTo(0.1 / 1.1, 1)
    clock.advance(10_000)
    expect(share('b')).toBeCloseTo(0.5, 1)
  })

  it('is for those who come back from an ejection, too', () => {
    start([endpoint('a'), endpoint('b')], { slowStart: 10_000 })
    fail('b')
    clock.advance(30_000)
    service.pick().done('success')

    expect(share('b')).toBeCloseTo(0.1 / 1.1, 2)
  })

  it('holds nobody back when all are new', () => {
    start([endpoint('a'), endpoint('b', { weight: 3 })], { slowStart: 10_000 })

    expect(share('b')).toBeCloseTo(0.75, 2)
  })

  it('leaves no timer behind when the newcomer goes or the discovery is closed', async () => {
    start([endpoint('a')], { slowStart: 10_000 })
    source.sink.update([endpoint('a'), endpoint('b')])
    source.sink.update([endpoint('a')])
    clock.advance(1_000)
    expect(clock.pending).toBe(0)

    source.sink.update([endpoint('a'), endpoint('c')])
    await discovery.close()
    expect(clock.pending).toBe(0)
  })
})

describe('wrong options', () => {
  it.each([
    [{ outlier: true }, /outlier must be an object, or false, got true/],
    [{ outlier: { consecutiveFailures: -1 } }, /outlier.consecutiveFailures must be a whole number/],
    [{ outlier: { ejectionTime: 0 } }, /outlier.ejectionTime must be at least 1 millisecond/],
    [{ outlier: { maxEjectionTime: 5 } }, /outlier.maxEjectionTime must be at least ejectionTime, 30000, got 5/],
    [{ outlier: { maxEjected: 50 } }, /outlier.maxEjected must be a number from 0 to 1, got 50/],
    [{ outlier: { successRate: { below: Number.NaN } } }, /outlier.successRate.below must be a number from 0 to 1/],
    [{ outlier: { successRate: { below: 0.5, minimumRequests: 0 } } }, /minimumRequests must be at least 1/],
    [{ outlier: { successRate: { below: 0.5, window: 2 ** 31 } } }, /window must be a number of milliseconds/],
    [{ slowStart: -1 }, /slowStart must be a number of milliseconds/],
    [{ slowStart: Number.POSITIVE_INFINITY }, /slowStart must be a number of milliseconds/],
  ])('are refused: %o', (options, message) => {
    expect(() => start([], options as unknown as DiscoveryOptions)).toThrow(message)
  })
})
