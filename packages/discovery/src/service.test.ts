import { getEventListeners } from 'node:events'
import { beforeEach, describe, expect, it, vi } from 'vitest'
import type { Balancer } from './balancer.js'
import { peakEwma } from './balancers/peak-ewma.js'
import { roundRobin } from './balancers/round-robin.js'
import { createDiscovery, type Discovery, type DiscoveryOptions } from './discovery.js'
import { isNoEndpointsError } from './errors.js'
import type { DiscoveryEvents } from './events.js'
import type { Service } from './service.js'
import { endpoint, ScriptedSource, VirtualClock } from './test-support.js'

let clock: VirtualClock
let source: ScriptedSource
let discovery: Discovery
let service: Service

function start(options: Partial<DiscoveryOptions> = {}): void {
  clock = new VirtualClock()
  source = new ScriptedSource()
  discovery = createDiscovery({ source, clock, balancer: roundRobin(), ...options })
  service = discovery.service('orders')
}

function heard<Name extends keyof DiscoveryEvents>(name: Name): DiscoveryEvents[Name][] {
  const events: DiscoveryEvents[Name][] = []
  discovery.on(name, (event) => events.push(event))
  return events
}

const ids = () => service.snapshot.endpoints.map(({ id }) => id)
const pickIds = (count: number, options = {}) => Array.from({ length: count }, () => service.pick(options).endpoint.id)

beforeEach(() => start())

describe('snapshot', () => {
  it('is empty, with version 0, until the source answers', () => {
    expect(service.snapshot).toEqual({ service: 'orders', endpoints: [], version: 0, stale: false })
  })

  it('completes what the source leaves out', () => {
    source.sink.update([
      { host: '10.0.0.1', port: 80 },
      { host: '::1', port: 81, url: 'https://ignored' },
    ])

    expect(service.snapshot.endpoints).toEqual([
      {
        id: '10.0.0.1:80',
        host: '10.0.0.1',
        port: 80,
        weight: 1,
        priority: 0,
        tags: [],
        meta: {},
        url: 'http://10.0.0.1:80',
      },
      {
        id: '[::1]:81',
        host: '::1',
        port: 81,
        weight: 1,
        priority: 0,
        tags: [],
        meta: {},
        url: 'https://[::1]:81',
        scheme: 'https',
      },
    ])
  })

  it('is a new one for each change, and the same one for an equal answer in another order', () => {
    const changes = heard('change')
    source.sink.update([endpoint('a', { tags: ['x'], meta: { k: 'v' } }), endpoint('b')])
    const first = service.snapshot

    source.sink.update([endpoint('b'), endpoint('a', { tags: ['x'], meta: { k: 'v' } })])
    expect(service.snapshot).toBe(first)

    source.sink.update([endpoint('a', { tags: ['y'], meta: { k: 'v' } }), endpoint('b')])
    expect(service.snapshot.version).toBe(2)
    expect(changes).toHaveLength(2)
  })

  it('keeps the identity of endpoints that did not change, and tells what did', () => {
    const changes = heard('change')
    source.sink.update([endpoint('a'), endpoint('b'), endpoint('c')])
    const [a] = service.snapshot.endpoints

    source.sink.update([endpoint('a'), endpoint('b', { weight: 2 }), endpoint('d')])

    expect(service.snapshot.endpoints[0]).toBe(a)
    expect(changes[1]?.service).toBe('orders')
    expect(changes[1]?.snapshot).toBe(service.snapshot)
    expect(changes[1]?.added.map(({ id, weight }) => [id, weight])).toEqual([
      ['b', 2],
      ['d', 1],
    ])
    expect(changes[1]?.removed.map(({ id, weight }) => [id, weight])).toEqual([
      ['b', 1],
      ['c', 1],
    ])
  })

  it('leaves out entries nobody could connect to, one by one, and says so', () => {
    const errors = heard('error')

    source.sink.update([endpoint('a'), endpoint('b', { port: 0 }), endpoint('c', { weight: Number.NaN })])

    expect(ids()).toEqual(['a'])
    expect(errors).toHaveLength(1)
    expect(errors[0]?.error).toBeInstanceOf(TypeError)
  })

  it('notices when a source changes the tags it reported before', () => {
    const tags = ['blue']
    source.sink.update([endpoint('a', { tags })])

    tags.push('green')
    expect(service.snapshot.endpoints[0]?.tags).toEqual(['blue'])
    source.sink.update([endpoint('a', { tags })])

    expect(service.snapshot.endpoints[0]?.tags).toEqual(['blue', 'green'])
  })

  it.each(['999.1.1.1', 'a b', 'a/b', 'users.1', 'a%zz', ''])('does not list an endpoint at %j', (host) => {
    source.sink.update([endpoint('a'), endpoint('b', { host })])

    expect(ids()).toEqual(['a'])
  })

  it.each(['users', 'users_1.shop.local', '10.0.0.1', '::1', '[fe80::1]', 'xn--mller-kva.example'])(
    'lists one at %j',
    (host) => {
      source.sink.update([endpoint('a', { host })])

      expect(URL.canParse(service.snapshot.endpoints[0]?.url ?? '')).toBe(true)
    },
  )

  it.each(['a\nb', '[::1', '::1]', '%61', 'user@host', 'a b', 'host:99', 'x/../y', '\0', '::1%eth0'])(
    'leaves out the host %j, which a URL would take for another one',
    (host) => {
      const errors = heard('error')

      source.sink.update([endpoint('a'), endpoint('b', { host })])

      expect(ids()).toEqual(['a'])
      expect(errors).toHaveLength(1)
    },
  )

  it.each([undefined, null, 'a', 5, { length: 2 }])(
    'takes %j in the place of a list for a failure of the source',
    (it) => {
      source.sink.update([endpoint('a')])
      const errors = heard('error')

      source.sink.update(it as never)

      expect(ids()).toEqual(['a'])
      expect(service.snapshot.stale).toBe(true)
      expect(errors[0]?.error.message).toContain("The source of 'orders' must report an array of endpoints")
    },
  )

  it.each([-1, Number.NaN, Number.POSITIVE_INFINITY, 1e308, '2'])(
    'leaves out the weight %s: it cannot be summed',
    (weight) => {
      source.sink.update([endpoint('a'), endpoint('b', { weight: weight as number })])

      expect(ids()).toEqual(['a'])
    },
  )

  it('counts an id once', () => {
    source.sink.update([endpoint('a'), endpoint('a')])

    expect(ids()).toEqual(['a'])
  })
})

describe('a source that fails', () => {
  it('leaves the last good snapshot in use, marked stale', () => {
    const stale = heard('stale')
    const errors = heard('error')
    source.sink.update([endpoint('a')])
    const down = new Error('registry down')

    source.sink.fail(down)
    source.sink.fail(down)
    clock.advance(86_400_000)

    expect(service.snapshot).toMatchObject({ version: 2, stale: true, error: down })
    expect(service.pick().endpoint.id).toBe('a')
    expect(stale).toEqual([{ service: 'orders', snapshot: expect.objectContaining({ stale: true }), error: down }])
    expect(errors).toHaveLength(2)
  })

  it('is forgiven when it answers again, even if nothing changed meanwhile', () => {
    source.sink.update([endpoint('a')])
    source.sink.fail(new Error('registry down'))
    const changes = heard('change')

    source.sink.update([endpoint('a')])

    expect(service.snapshot).toEqual(expect.objectContaining({ stale: false, version: 3 }))
    expect(service.snapshot.error).toBeUndefined()
    expect(changes).toMatchObject([{ added: [], removed: [] }])
  })

  it('is waited for no longer than maxStale, counted from the first failure', () => {
    start({ maxStale: 1_000 })
    source.sink.update([endpoint('a')])
    source.sink.fail(new Error('registry down'))
    clock.advance(600)
    source.sink.fail(new Error('registry still down'))

    clock.advance(399)
    expect(ids()).toEqual(['a'])
    clock.advance(1)

    expect(service.snapshot).toMatchObject({ endpoints: [], stale: true })
    expect(() => service.pick()).toThrow(/registry still down/)
  })

  it('has its time over when it answers before maxStale', () => {
    start({ maxStale: 1_000 })
    source.sink.update([endpoint('a')])
    source.sink.fail(new Error('registry down'))
    clock.advance(600)
    source.sink.update([endpoint('a')])

    clock.advance(10_000)

    expect(ids()).toEqual(['a'])
    expect(clock.pending).toBe(0)
  })

  it('fails by throwing, too', async () => {
    source.watch = () => {
      throw new Error('no such registry')
    }
    const users = discovery.service('users')

    await expect(users.ready()).rejects.toThrow('No endpoint for service "users": no such registry')
  })
})

describe('a source that says there is nobody', () => {
  it('is believed at once when that is its first answer', async () => {
    source.sink.update([])

    expect(service.snapshot).toMatchObject({ endpoints: [], version: 1 })
    await expect(service.ready()).resolves.toMatchObject({ endpoints: [] })
    expect(() => service.pick()).toThrow('No endpoint for service "orders": the source lists none')
  })

  it('is believed after emptyGrace, 10 s by default', () => {
    source.sink.update([endpoint('a')])
    source.sink.update([])
    clock.advance(9_000)
    source.sink.update([])

    clock.advance(999)
    expect(ids()).toEqual(['a'])
    clock.advance(1)

    expect(ids()).toEqual([])
  })

  it('is believed at once when emptyGrace is 0', () => {
    start({ emptyGrace: 0 })
    source.sink.update([endpoint('a')])

    source.sink.update([])

    expect(ids()).toEqual([])
  })

  it('may take it back within the grace', () => {
    source.sink.update([endpoint('a')])
    source.sink.update([])
    clock.advance(9_999)
    source.sink.update([endpoint('b')])

    clock.advance(60_000)

    expect(ids()).toEqual(['b'])
    expect(clock.pending).toBe(0)
  })

  it('has to say it again after a failure: only time in which it is heard counts', () => {
    source.sink.update([endpoint('a')])
    source.sink.update([])
    clock.advance(9_000)
    source.sink.fail(new Error('registry down'))
    clock.advance(60_000)
    expect(ids()).toEqual(['a'])

    source.sink.update([])
    expect(service.snapshot).toMatchObject({ stale: false })
    clock.advance(9_999)
    expect(ids()).toEqual(['a'])
    clock.advance(1)

    expect(ids()).toEqual([])
  })
})

describe('ready', () => {
  it('listens to one signal once, however many wait for however many services', async () => {
    const controller = new AbortController()
    const services = [service, discovery.service('users')]
    const waiting = services.flatMap((each) => [each.ready(controller.signal), each.ready(controller.signal)])
    const following = services.map((each) => each.changes(controller.signal)[Symbol.asyncIterator]().next())
    await Promise.resolve()
    expect(getEventListeners(controller.signal, 'abort')).toHaveLength(1)

    source.sink.update([endpoint('a')])
    await Promise.all([waiting[0], waiting[1], following[0]])
    expect(getEventListeners(controller.signal, 'abort')).toHaveLength(1)

    controller.abort(new Error('enough'))
    const ends = await Promise.allSettled([waiting[2], waiting[3], following[1]])
    expect(ends.map((end) => end.status === 'rejected' && String(end.reason))).toEqual(Array(3).fill('Error: enough'))
    expect(getEventListeners(controller.signal, 'abort')).toHaveLength(0)
  })

  it('waits for the first answer', async () => {
    const ready = service.ready()
    source.sink.update([endpoint('a')])

    await expect(ready).resolves.toBe(service.snapshot)
    await expect(service.ready()).resolves.toBe(service.snapshot)
  })

  it('rejects with NoEndpointsError when the source fails first, now and later', async () => {
    const down = new Error('registry down')
    const ready = service.ready()
    source.sink.fail(down)

    await expect(ready).rejects.toMatchObject({ code: 'MSX_NO_ENDPOINTS', service: 'orders', cause: down })
    await expect(service.ready()).rejects.toSatisfy(isNoEndpointsError)
  })

  it('rejects with the reason of the signal and leaves no listener behind', async () => {
    const controller = new AbortController()
    const ready = service.ready(controller.signal)
    const reason = new Error('enough')
    controller.abort(reason)

    await expect(ready).rejects.toBe(reason)
    await expect(service.ready(controller.signal)).rejects.toBe(reason)

    const other = new AbortController()
    const answered = service.ready(other.signal)
    expect(getEventListeners(other.signal, 'abort')).toHaveLength(1)
    source.sink.update([endpoint('a')])
    await answered
    expect(getEventListeners(other.signal, 'abort')).toHaveLength(0)
  })
})

describe('pick', () => {
  it('throws NoEndpointsError before the source has answered', () => {
    expect(() => service.pick()).toThrow(/has not answered yet/)
  })

  it('asks the balancer, which sees who is busy', () => {
    const seen: number[][] = []
    start({
      balancer: () => ({
        pick(nodes) {
          seen.push(nodes.map(({ inflight }) => inflight))
          return nodes[0]!
        },
      }),
    })
    source.sink.update([endpoint('a'), endpoint('b')])

    const lease = service.pick()
    service.pick()
    lease.done('success')
    service.pick()

    expect(seen).toEqual([
      [0, 0],
      [1, 0],
      [1, 0],
    ])
  })

  it('refuses what a balancer made up', () => {
    start({ balancer: () => ({ pick: (nodes) => ({ ...nodes[0]! }) }) })
    source.sink.update([endpoint('a')])

    expect(() => service.pick()).toThrow(TypeError)
  })

  it('leaves out excluded ids, and throws when that leaves nobody', () => {
    source.sink.update([endpoint('a'), endpoint('b')])

    expect(pickIds(3, { exclude: new Set(['a']) })).toEqual(['b', 'b', 'b'])
    expect(() => service.pick({ exclude: new Set(['a', 'b']) })).toThrow(/all of them are excluded/)
  })

  it('uses a tier only when those before have nobody left', () => {
    source.sink.update([endpoint('c', { priority: 2 }), endpoint('a', { priority: 1 }), endpoint('b', { priority: 1 })])

    expect(new Set(pickIds(10))).toEqual(new Set(['a', 'b']))
    expect(pickIds(1, { exclude: new Set(['a', 'b']) })).toEqual(['c'])
  })

  it('uses an endpoint of weight 0 only when its tier has nobody else', () => {
    source.sink.update([endpoint('a', { weight: 0 }), endpoint('b'), endpoint('c', { priority: 1 })])

    expect(new Set(pickIds(10))).toEqual(new Set(['b']))
    expect(pickIds(1, { exclude: new Set(['b']) })).toEqual(['a'])
  })

  it('prefers the zone while it has anybody', () => {
    source.sink.update([endpoint('a', { zone: 'east' }), endpoint('b', { zone: 'west' })])

    expect(pickIds(3, { zone: 'west' })).toEqual(['b', 'b', 'b'])
    expect(pickIds(1, { zone: 'west', exclude: new Set(['b']) })).toEqual(['a'])
  })

  it('asks the clock once, and its lease once more: that takes longer than all the rest', () => {
    start({ balancer: peakEwma() })
    source.sink.update(['a', 'b', 'c'].map((id) => endpoint(id)))
    const now = vi.spyOn(clock, 'now')

    const lease = service.pick()
    expect(now).toHaveBeenCalledTimes(1)
    lease.done('success')
    expect(now).toHaveBeenCalledTimes(2)

    const slow = service.pick()
    slow.firstByte()
    slow.done('success')
    expect(now).toHaveBeenCalledTimes(4)
  })

  it('offers the same list each time, of a zone, too: nobody is looked through for a request', () => {
    const pick = vi.fn<Balancer['pick']>((nodes) => nodes[0]!)
    start({ balancer: () => ({ pick }) })
    source.sink.update([endpoint('a', { zone: 'eu' }), endpoint('b'), endpoint('c', { zone: 'eu' })])
    const offered = () => pick.mock.lastCall?.[0]

    service.pick()
    const all = offered()
    service.pick({ zone: 'eu' })
    const near = offered()
    service.pick({ zone: 'mars' })

    expect(offered()).toBe(all)
    expect(near?.map((node) => node.endpoint.id)).toEqual(['a', 'c'])
    service.pick({ zone: 'eu' })
    expect(offered()).toBe(near)
  })

  it('does not pick an endpoint from the moment it is gone', () => {
    source.sink.update([endpoint('a'), endpoint('b')])

    source.sink.update([endpoint('b')])

    expect(pickIds(4)).toEqual(['b', 'b', 'b', 'b'])
  })
})

describe('a lease', () => {
  it('is ended by the first done; later ones do nothing', () => {
    source.sink.update([endpoint('a')])
    const lease = service.pick()

    lease.done('failure')
    lease.done('failure')
    lease.done('cancelled')

    expect(service.metrics).toEqual({
      service: 'orders',
      version: 1,
      stale: false,
      picked: 1,
      failed: 1,
      cancelled: 0,
      refused: 0,
      endpoints: [
        { id: 'a', url: 'http://10.0.0.1:97', inflight: 0, picked: 1, failed: 1, cancelled: 0, ejected: false },
      ],
    })
  })

  it('refuses an outcome there is not', () => {
    source.sink.update([endpoint('a')])

    expect(() => service.pick().done('ok' as never)).toThrow(/^outcome must be/)
  })

  it('tells the balancer once how long the first byte took, and of a failure after it', () => {
    const settle = vi.fn()
    start({ balancer: () => ({ pick: (nodes) => nodes[0]!, settle }) })
    source.sink.update([endpoint('a')])

    const lease = service.pick()
    clock.advance(20)
    lease.firstByte()
    lease.firstByte()
    clock.advance(30)
    lease.done('success')
    expect(settle.mock.calls.map(([, sample]) => sample)).toEqual([{ outcome: 'success', latency: 20, retryAfter: 0 }])

    const broken = service.pick()
    broken.firstByte()
    clock.advance(5)
    broken.done('failure', 700)
    broken.firstByte()
    expect(settle.mock.calls.at(-1)?.[1]).toEqual({ outcome: 'failure', latency: 5, retryAfter: 700 })
    expect(settle).toHaveBeenCalledTimes(3)
  })

  it('tells the balancer at the end when there was no first byte', () => {
    const settle = vi.fn()
    start({ balancer: () => ({ pick: (nodes) => nodes[0]!, settle }) })
    source.sink.update([endpoint('a')])

    const lease = service.pick()
    clock.advance(40)
    lease.done('cancelled', Number.NaN)

    expect(settle.mock.calls[0]?.[1]).toEqual({ outcome: 'cancelled', latency: 40, retryAfter: 0 })
  })

  it('still counts for an endpoint that left and came back within a minute', () => {
    source.sink.update([endpoint('a'), endpoint('b')])
    const lease = service.pick()
    source.sink.update([endpoint('b')])
    clock.advance(59_000)
    source.sink.update([endpoint('a'), endpoint('b')])

    expect(service.metrics.endpoints[0]).toMatchObject({ id: 'a', inflight: 1 })
    lease.done('success')
    expect(service.metrics.endpoints[0]).toMatchObject({ id: 'a', inflight: 0, picked: 1 })
  })

  it('does not count for one that stayed away longer, or came back at another address', () => {
    source.sink.update([endpoint('a'), endpoint('b')])
    pickIds(2)
    source.sink.update([endpoint('b', { port: 99 })])
    clock.advance(60_001)
    source.sink.update([])
    source.sink.update([endpoint('b', { port: 99 }), endpoint('c')])
    source.sink.update([endpoint('a'), endpoint('b', { port: 99 })])

    expect(service.metrics.endpoints).toMatchObject([
      { id: 'a', picked: 0 },
      { id: 'b', picked: 0 },
    ])
  })
})

describe('refresh', () => {
  it('is asked of the source after a failure or when there is nobody, at most once a second', () => {
    source.sink.update([endpoint('a')])

    service.pick().done('success')
    service.pick().done('cancelled')
    expect(source.refreshed).toEqual([])

    service.pick().done('failure')
    service.pick().done('failure')
    clock.advance(999)
    expect(() => service.pick({ exclude: new Set(['a']) })).toThrow()
    expect(source.refreshed).toEqual(['orders'])

    clock.advance(1)
    expect(() => service.pick({ exclude: new Set(['a']) })).toThrow()
    expect(source.refreshed).toEqual(['orders', 'orders'])
  })

  it('that throws is an error event, not a failed request', () => {
    const errors = heard('error')
    source.refresh = () => {
      throw new Error('no')
    }
    source.sink.update([endpoint('a')])

    service.pick().done('failure')

    expect(errors).toMatchObject([{ service: 'orders', error: new Error('no') }])
  })
})

describe('changes', () => {
  it('yields the present snapshot and each later one, until the discovery is closed', async () => {
    const versions: number[] = []
    source.sink.update([endpoint('a')])
    const reading = (async () => {
      for await (const { version } of service.changes()) versions.push(version)
    })()

    await vi.waitFor(() => expect(versions).toEqual([1]))
    source.sink.update([endpoint('b')])
    await vi.waitFor(() => expect(versions).toEqual([1, 2]))
    source.sink.fail(new Error('registry down'))
    await vi.waitFor(() => expect(versions).toEqual([1, 2, 3]))
    await discovery.close()

    await reading
    expect(versions).toEqual([1, 2, 3])
  })

  it('gives a slow reader the latest, not each', async () => {
    const changes = service.changes()[Symbol.asyncIterator]()
    const first = changes.next()
    source.sink.update([endpoint('a')])
    source.sink.update([endpoint('b')])
    source.sink.update([endpoint('c')])

    await expect(first).resolves.toMatchObject({ value: { version: 3 } })
  })

  it('rejects with the reason of the signal and leaves no listener behind', async () => {
    const controller = new AbortController()
    const next = service.changes(controller.signal)[Symbol.asyncIterator]().next()
    const reason = new Error('enough')
    controller.abort(reason)

    await expect(next).rejects.toBe(reason)
    expect(getEventListeners(controller.signal, 'abort')).toHaveLength(0)
  })

  it('ends a next that waits when the reader leaves', async () => {
    const changes = service.changes()[Symbol.asyncIterator]()
    const next = changes.next()

    await changes.return?.()

    await expect(next).resolves.toEqual({ done: true, value: undefined })
  })
})
