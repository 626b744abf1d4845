import { describe, expect, it, vi } from 'vitest'
import { createDiscovery, type DiscoveryOptions } from './discovery.js'
import { isDiscoveryClosedError } from './errors.js'
import { endpoint, ScriptedSource } from './test-support.js'

describe('createDiscovery', () => {
  it.each([
    ['source', undefined],
    ['source', { watch: 'no function' }],
    ['balancer', 'roundRobin'],
    ['emptyGrace', Number.NaN],
    ['emptyGrace', -1],
    ['emptyGrace', 2 ** 31],
    ['maxStale', Number.POSITIVE_INFINITY],
    ['maxStale', '1000'],
    ['drainTimeout', -1],
    ['clock', {}],
    ['random', 0.5],
  ])('refuses a wrong %s (%o), naming it', (option, value) => {
    const options = { source: new ScriptedSource(), [option]: value } as unknown as DiscoveryOptions

    expect(() => createDiscovery(options)).toThrow(TypeError)
    expect(() => createDiscovery(options)).toThrow(new RegExp(`^${option} must be`))
  })

  it('takes 0 for a value and undefined for the default', () => {
    const source = new ScriptedSource()

    expect(() => createDiscovery({ source, emptyGrace: 0, maxStale: 0 })).not.toThrow()
    expect(() => createDiscovery({ source, emptyGrace: undefined, maxStale: undefined })).not.toThrow()
  })

  it('forgets a service: its watch ends, who has it is told, others are as before, and it may come again', () => {
    const source = new ScriptedSource()
    const discovery = createDiscovery({ source })
    const [orders, users] = [discovery.service('orders'), discovery.service('users')]
    for (const { sink } of source.watches) sink.update([endpoint('a')])
    const lease = orders.pick()

    discovery.forget('orders')
    discovery.forget('nobody')

    expect(source.watches.map(({ signal }) => signal.aborted)).toEqual([true, false])
    expect(discovery.metrics.map(({ service }) => service)).toEqual(['users'])
    expect(() => lease.done('success')).not.toThrow()
    expect(() => orders.pick()).toThrow(expect.toSatisfy(isDiscoveryClosedError))
    expect(users.pick().endpoint.id).toBe('a')
    expect(discovery.service('orders')).not.toBe(orders)
    expect(source.watches).toHaveLength(3)
  })

  it('gives one service per name, watched once, from the first time somebody asks', () => {
    const source = new ScriptedSource()
    const discovery = createDiscovery({ source })

    expect(source.watches).toHaveLength(0)
    const first = discovery.service('orders')
    const second = discovery.service('orders')
    discovery.service('users')

    expect(second).toBe(first)
    expect(source.watches.map(({ service }) => service)).toEqual(['orders', 'users'])
  })

  it.each(['', undefined, 7])('refuses %o as the name of a service', (name) => {
    const discovery = createDiscovery({ source: new ScriptedSource() })

    expect(() => discovery.service(name as string)).toThrow(/^name must be/)
  })

  it('gives each service a balancer of its own', () => {
    const balancer = vi.fn(() => ({ pick: (nodes: readonly never[]) => nodes[0]! }))
    const discovery = createDiscovery({ source: new ScriptedSource(), balancer })

    discovery.service('orders')
    discovery.service('users')

    expect(balancer).toHaveBeenCalledTimes(2)
  })

  it('is not disturbed by a listener that throws', () => {
    const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => {})
    const source = new ScriptedSource()
    const discovery = createDiscovery({ source })
    const heard = vi.fn()
    discovery.on('change', () => {
      throw new Error('no')
    })
    discovery.on('change', heard)
    discovery.service('orders')

    source.sink.update([endpoint('a')])

    expect(heard).toHaveBeenCalledTimes(1)
    expect(warn.mock.calls[0]?.[0]).toContain('Error: no')
    warn.mockRestore()
  })

  it('stops telling a listener that has unsubscribed', () => {
    const source = new ScriptedSource()
    const discovery = createDiscovery({ source })
    const heard = vi.fn()
    discovery.on('change', heard)()
    discovery.service('orders')

    source.sink.update([endpoint('a')])

    expect(heard).not.toHaveBeenCalled()
  })
})

describe('close', () => {
  it('ends the watches, refuses picks and services, and hears the source no more', async () => {
    const source = new ScriptedSource()
    const discovery = createDiscovery({ source })
    const service = discovery.service('orders')
    source.sink.update([endpoint('a')])
    const heard = vi.fn()
    discovery.on('close', heard)

    await discovery.close()
    await discovery.close()
    source.sink.update([endpoint('b')])
    source.sink.fail(new Error('late'))

    expect(source.watches[0]?.signal.aborted).toBe(true)
    expect(service.snapshot).toMatchObject({ version: 1, stale: false })
    expect(() => service.pick()).toThrow(expect.objectContaining({ code: 'MSX_DISCOVERY_CLOSED' }))
    expect(() => discovery.service('users')).toThrow(expect.objectContaining({ code: 'MSX_DISCOVERY_CLOSED' }))
    expect(heard).toHaveBeenCalledTimes(1)
  })

  it('rejects who waits to be ready', async () => {
    const discovery = createDiscovery({ source: new ScriptedSource() })
    const ready = discovery.service('orders').ready()

    await discovery.close()

    await expect(ready).rejects.toSatisfy(isDiscoveryClosedError)
  })

  it('lets leases that are out be ended', async () => {
    const source = new ScriptedSource()
    const discovery = createDiscovery({ source })
    const service = discovery.service('orders')
    source.sink.update([endpoint('a')])
    const lease = service.pick()

    await discovery.close()
    lease.done('failure')

    expect(service.metrics.endpoints).toMatchObject([{ inflight: 0, failed: 1 }])
    expect(source.refreshed).toEqual([])
  })

  it('happens at the end of an await using block', async () => {
    const source = new ScriptedSource()
    {
      await using discovery = createDiscovery({ source })
      discovery.service('orders')
    }

    expect(source.watches[0]?.signal.aborted).toBe(true)
  })
})
