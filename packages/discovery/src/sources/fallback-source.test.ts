import { describe, expect, it } from 'vitest'
import { createDiscovery } from '../discovery.js'
import type { EndpointInit } from '../endpoint.js'
import type { Source } from '../source.js'
import { endpoint, ScriptedSource, VirtualClock } from '../test-support.js'
import { sourceContract } from '../testing/source-contract.js'
import { fallbackSource } from './fallback-source.js'
import { fixed } from './fixed.js'

const REGISTRY = [endpoint('a'), endpoint('b')]
const DNS = [endpoint('c')]

/** Two sources, what the service is told, and the end of the watch. */
function start(...sources: Source[]) {
  const told: (readonly string[] | Error)[] = []
  const watch = new AbortController()
  const source = fallbackSource(...sources)
  source.watch(
    'users',
    {
      update: (endpoints: readonly EndpointInit[]) => void told.push(endpoints.map(({ id }) => id ?? '?')),
      fail: (error) => void told.push(error),
    },
    watch.signal,
  )
  return { told, watch, source }
}

const last = <T>(list: readonly T[]) => list[list.length - 1]
const live = (source: ScriptedSource) => source.watches.filter(({ signal }) => !signal.aborted)

describe('fallbackSource', () => {
  for (const { name, run } of sourceContract((places) => fallbackSource(fixed({}), fixed(places)))) it(name, run)

  it('leaves the later sources alone while the first one lists somebody', () => {
    const [registry, dns] = [new ScriptedSource(), new ScriptedSource()]
    const { told } = start(registry, dns)

    registry.sink.update(REGISTRY)

    expect(told).toEqual([['a', 'b']])
    expect(dns.watches).toHaveLength(0)
  })

  it('asks the next one when the first cannot be asked', () => {
    const [registry, dns] = [new ScriptedSource(), new ScriptedSource()]
    const { told } = start(registry, dns)

    registry.sink.fail(new Error('no agent'))
    expect(told).toEqual([])
    dns.sink.update(DNS)

    expect(told).toEqual([['c']])
  })

  it('asks the next one when the first lists nobody', () => {
    const [registry, dns] = [new ScriptedSource(), new ScriptedSource()]
    const { told } = start(registry, dns)

    registry.sink.update([])
    dns.sink.update(DNS)

    expect(told).toEqual([['c']])
  })

  it('returns to the first one when that is back, and lets the second go', () => {
    const [registry, dns] = [new ScriptedSource(), new ScriptedSource()]
    const { told } = start(registry, dns)
    registry.sink.fail(new Error('no agent'))
    dns.sink.update(DNS)

    registry.sink.update(REGISTRY)
    dns.sink.update([endpoint('z')])

    expect(told).toEqual([['c'], ['a', 'b']])
    expect(live(dns)).toHaveLength(0)
  })

  it('watches the second one anew when it is needed again', () => {
    const [registry, dns] = [new ScriptedSource(), new ScriptedSource()]
    const { told } = start(registry, dns)
    registry.sink.fail(new Error('no agent'))
    registry.sink.update(REGISTRY)

    registry.sink.fail(new Error('no agent again'))
    dns.watches[1]!.sink.update(DNS)

    expect(live(dns)).toHaveLength(1)
    expect(last(told)).toEqual(['c'])
  })

  it('does not believe "nobody" while a source cannot be asked', () => {
    const [registry, dns] = [new ScriptedSource(), new ScriptedSource()]
    const { told } = start(registry, dns)
    const reason = new Error('no agent')
    registry.sink.update(REGISTRY)

    registry.sink.fail(reason)
    dns.sink.update([])

    expect(told).toEqual([['a', 'b'], reason])
  })

  it('believes "nobody" when every source says so', () => {
    const [registry, dns] = [new ScriptedSource(), new ScriptedSource()]
    const { told } = start(registry, dns)
    registry.sink.update(REGISTRY)

    registry.sink.update([])
    dns.sink.update([])

    expect(told).toEqual([['a', 'b'], []])
  })

  it('fails with the reason of the most trusted one when none can be asked', () => {
    const [registry, dns] = [new ScriptedSource(), new ScriptedSource()]
    const { told } = start(registry, dns)
    const reason = new Error('no agent')

    registry.sink.fail(reason)
    dns.sink.fail(new Error('SERVFAIL'))

    expect(told).toEqual([reason])
  })

  it('takes a source that throws for one that fails', () => {
    const broken: Source = {
      watch() {
        throw 'at once'
      },
    }
    const { told } = start(broken, fixed({ users: ['127.0.0.1:3001'] }))

    expect(told).toHaveLength(1)
    expect(told[0]).not.toBeInstanceOf(Error)
  })

  it('ends every watch with its own, and tells nothing afterwards', () => {
    const [registry, dns] = [new ScriptedSource(), new ScriptedSource()]
    const { told, watch, source } = start(registry, dns)
    registry.sink.fail(new Error('no agent'))

    watch.abort()
    registry.sink.update(REGISTRY)
    dns.sink.update(DNS)
    source.refresh?.('users')

    expect(told).toEqual([])
    expect([...live(registry), ...live(dns)]).toEqual([])
    expect([...registry.refreshed, ...dns.refreshed]).toEqual([])
  })

  it('passes hints on to the sources that are watched', () => {
    const [registry, dns] = [new ScriptedSource(), new ScriptedSource()]
    const { source } = start(registry, dns)
    registry.sink.update(REGISTRY)

    source.refresh?.('users')

    expect(registry.refreshed).toEqual(['users'])
    expect(dns.refreshed).toEqual([])
  })

  it('keeps what was known in use, marked stale, while no source can be asked', () => {
    const [registry, dns] = [new ScriptedSource(), new ScriptedSource()]
    const discovery = createDiscovery({ source: fallbackSource(registry, dns), clock: new VirtualClock() })
    const users = discovery.service('users')
    registry.sink.update(REGISTRY)

    registry.sink.fail(new Error('no agent'))
    dns.sink.fail(new Error('SERVFAIL'))

    expect(users.snapshot).toMatchObject({ stale: true, endpoints: [{ id: 'a' }, { id: 'b' }] })
  })

  it.each([
    [[], /sources must be at least one source/],
    [[fixed({}), {}], /sources\[1\] must be a Source, got \{\}/],
  ])('refuses %j', (sources, message) => {
    expect(() => fallbackSource(...(sources as Source[]))).toThrow(message)
  })
})
