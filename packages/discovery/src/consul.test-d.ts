import Consul from 'consul'
import { expectTypeOf } from 'vitest'
import { consul } from './consul.js'
import { createDiscovery, dnsA, dnsSrv, fixed, type Registered, type Registry, type Source } from './index.js'
import { sourceContract } from './testing.js'

const registry = consul()
expectTypeOf(registry).toEqualTypeOf<Source & Registry>()
createDiscovery({ source: registry })

consul({
  url: new URL('https://consul:8501'),
  token: undefined,
  tls: { ca: 'ca' },
  stale: true,
  tags: ['a'],
  dc: 'dc2',
})
consul({ client: new Consul(), passing: false, wait: 1_000 })
// @ts-expect-error a client has an address of its own
consul({ client: new Consul(), url: 'http://consul:8500' })
// @ts-expect-error a client is one of the package consul
consul({ client: {} })
// @ts-expect-error tls is certificates, not a switch
consul({ tls: true })
// @ts-expect-error no such option
consul({ partition: 'a' })

const users = { name: 'users', host: '10.0.0.7', port: 3001 }
expectTypeOf(registry.register(users)).toEqualTypeOf<Promise<Registered>>()
expectTypeOf<Registered>().toExtend<AsyncDisposable>()
void registry.register({ ...users, check: { ttl: 15_000 }, removeAfter: 60_000, id: undefined })
void registry.register({ ...users, check: { http: 'http://10.0.0.7:3001/ready', interval: 10_000 } })
// @ts-expect-error an HTTP check needs an interval
void registry.register({ ...users, check: { http: 'http://10.0.0.7:3001/ready' } })
// @ts-expect-error no such check
void registry.register({ ...users, check: { tcp: '10.0.0.7:3001', interval: 10_000 } })

const registered = {} as Registered
registered.on('error', ({ id, error }) => {
  expectTypeOf(id).toEqualTypeOf<string>()
  expectTypeOf(error).toEqualTypeOf<Error>()
})
// @ts-expect-error no such event
registered.on('lost', () => {})

expectTypeOf(dnsSrv()).toEqualTypeOf<Source>()
dnsA({ port: 3000, servers: ['127.0.0.1:8600'], name: (service) => `${service}.test` })
// @ts-expect-error an A record has no port
dnsA({})

expectTypeOf(sourceContract((places) => fixed(places))).toExtend<
  readonly { readonly name: string; run(): Promise<void> }[]
>()
sourceContract(fixed)
