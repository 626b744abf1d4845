import { dnsA, dnsSrv, type EndpointInit, type Source } from '@msx/discovery'
import { consul } from '@msx/discovery/consul'
import type { DnsSettings } from './discovery-settings.js'
import { httpNameOf } from './names.js'
import type { ServiceName } from './service-names.js'
import type { ServiceSettings } from './service-settings.js'

/** Where a service answers over HTTP when its place is told by DNS, which knows no ports. */
export const standardHttpPort = 3_000

/** Where payment-service answers over gRPC then. */
export const standardGrpcPort = 50_051

/** Finds the others, and lets them find this one. */
export interface Directory {
  readonly source: Source
  /** Undefined where names are given by whoever runs the processes: Kubernetes, Compose. */
  readonly registry: ReturnType<typeof consul> | undefined
}

/** Called in another way than over HTTP, it says beside that where its health and metrics are. */
const doubled: ServiceName = 'payment-service'

export function directoryOf({ addresses, discovery, shop }: ServiceSettings): Directory {
  // Where all instances are unready, for want of the same server, one of them is asked all the same: what it can do without
  // that server it does, and what it cannot it refuses itself.
  const registry = () => consul({ url: addresses.consul, tags: [shop], passing: false })
  if (discovery.by === 'consul') {
    const both = registry()
    return { source: both, registry: both }
  }
  if (discovery.records === 'srv') return { source: withHttpRecords(srvSource(discovery, shop)), registry: registry() }

  return { source: withHttpPort(discovery), registry: undefined }
}

const interval = 1_000

function termsOf({ servers }: DnsSettings) {
  return { minInterval: interval, ...(servers.length > 0 && { servers }) }
}

/** Consul's DNS lets a tag stand in front of the name: so each shop finds its own. */
function srvSource(settings: DnsSettings, shop: string): Source {
  const { suffix } = settings
  return dnsSrv({ ...termsOf(settings), name: (service) => `${shop}.${service}.${suffix}` })
}

function withHttpPort(settings: DnsSettings): Source {
  const { suffix } = settings
  const terms = {
    ...termsOf(settings),
    name: (service: string) => (suffix === '' ? service : `${service}.${suffix}`),
  }
  const http = dnsA({ ...terms, port: standardHttpPort })
  const grpc = dnsA({ ...terms, port: standardGrpcPort })

  return {
    watch(service, sink, signal) {
      if (service !== doubled) return http.watch(service, sink, signal)

      const update = (endpoints: readonly EndpointInit[]) =>
        sink.update(
          endpoints.map((endpoint) => ({ ...endpoint, meta: httpAt({ ...endpoint, port: standardHttpPort }) })),
        )
      grpc.watch(service, { fail: (error) => sink.fail(error), update }, signal)
    },
    refresh(service) {
      http.refresh?.(service)
      grpc.refresh?.(service)
    },
  }
}

/** Both doors have records of their own. Which belong together is not told; only all of them together matter. */
function withHttpRecords(srv: Source): Source {
  return {
    watch(service, sink, signal) {
      if (service !== doubled) return srv.watch(service, sink, signal)

      let calls: readonly EndpointInit[] | undefined
      let doors: readonly EndpointInit[] = []
      const update = () => {
        const door = (index: number) => doors[index] && { meta: httpAt(doors[index]) }
        if (calls !== undefined) sink.update(calls.map((endpoint, index) => ({ ...endpoint, ...door(index) })))
      }
      const fail = (error: Error) => sink.fail(error)
      const heardOfCalls = (endpoints: readonly EndpointInit[]) => {
        calls = endpoints
        update()
      }
      const heardOfDoors = (endpoints: readonly EndpointInit[]) => {
        doors = endpoints
        update()
      }
      srv.watch(service, { fail, update: heardOfCalls }, signal)
      srv.watch(httpNameOf(service), { fail, update: heardOfDoors }, signal)
    },
    refresh(service) {
      srv.refresh?.(service)
      if (service === doubled) srv.refresh?.(httpNameOf(service))
    },
  }
}

function httpAt({ host, port }: Pick<EndpointInit, 'host' | 'port'>): { readonly http: string } {
  return { http: `http://${urlHost(host)}:${port}` }
}

function urlHost(host: string): string {
  return host.includes(':') && !host.startsWith('[') ? `[${host}]` : host
}
