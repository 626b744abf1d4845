import type { Dispatcher } from 'undici'
import { expectTypeOf } from 'vitest'
import {
  type Balancer,
  createDiscovery,
  type Discovery,
  type Endpoint,
  fixed,
  isNoEndpointsError,
  type Lease,
  peakEwma,
  type Snapshot,
  type Source,
} from './index.js'
import { ServiceDispatcher, serviceFetch } from './undici.js'

const discovery = createDiscovery({ source: fixed({ users: ['http://users:80', { host: 'users', port: 81 }] }) })
expectTypeOf(discovery).toEqualTypeOf<Discovery>()
expectTypeOf(discovery).toExtend<AsyncDisposable>()

// @ts-expect-error a source is required
createDiscovery({})
createDiscovery({
  source: fixed({}),
  outlier: { consecutiveFailures: 3, successRate: { below: 0.5 } },
  slowStart: 1_000,
})
createDiscovery({ source: fixed({}), outlier: false })
// @ts-expect-error it is on by default; there is nothing to turn on
createDiscovery({ source: fixed({}), outlier: true })
// @ts-expect-error a balancer is made by a factory, not given by name
createDiscovery({ source: fixed({}), balancer: 'peakEwma' })
createDiscovery({ source: fixed({}), balancer: undefined, maxStale: undefined, clock: { now: () => 0 } })

const service = discovery.service('users')
expectTypeOf(service.ready()).toEqualTypeOf<Promise<Snapshot>>()
expectTypeOf(service.changes()).toEqualTypeOf<AsyncIterable<Snapshot>>()

const lease = service.pick({ exclude: new Set(['a']), zone: undefined })
expectTypeOf(lease).toEqualTypeOf<Lease>()
lease.done('success')
lease.done('failure', 1_000)
// @ts-expect-error there are three outcomes
lease.done('ok')
// @ts-expect-error endpoints are immutable
lease.endpoint.weight = 2

discovery.on('change', ({ added, snapshot }) => {
  expectTypeOf(added).toEqualTypeOf<readonly Endpoint[]>()
  expectTypeOf(snapshot.endpoints[0]?.zone).toEqualTypeOf<string | undefined>()
})
// @ts-expect-error no such event
discovery.on('changed', () => {})

const source: Source = {
  watch(name, sink, signal) {
    expectTypeOf(name).toEqualTypeOf<string>()
    expectTypeOf(signal).toEqualTypeOf<AbortSignal>()
    sink.update([{ host: 'users', port: 80 }])
    // @ts-expect-error a port is needed
    sink.update([{ host: 'users' }])
    sink.update(service.snapshot.endpoints)
  },
}
createDiscovery({ source, balancer: () => ({ pick: (nodes) => nodes[0]! }) satisfies Balancer })
peakEwma({ decay: 1_000 })

const error: unknown = undefined
if (isNoEndpointsError(error)) expectTypeOf(error.code).toEqualTypeOf<'MSX_NO_ENDPOINTS'>()

expectTypeOf(serviceFetch(discovery)).toEqualTypeOf<typeof fetch>()
expectTypeOf(new ServiceDispatcher(discovery, { services: ['users'], retries: 0 })).toExtend<Dispatcher>()
