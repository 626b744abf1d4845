import { dnsA, type Source } from '@msx/discovery'
import { consul } from '@msx/discovery/consul'
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

export function directoryOf({ addresses, discovery, shop }: ServiceSettings): Directory {
  if (discovery.by === 'consul') {
    const registry = consul({ url: addresses.consul, tags: [shop] })
    return { source: registry, registry }
  }

  const { suffix, servers } = discovery
  const name = (service: string) => (suffix === '' ? service : `${service}.${suffix}`)
  const terms = { name, minInterval: 1_000, ...(servers.length > 0 && { servers }) }
  return {
    source: bothPorts(dnsA({ ...terms, port: standardHttpPort }), dnsA({ ...terms, port: standardGrpcPort })),
    registry: undefined,
  }
}

/** payment-service is called over gRPC, and says beside that where its health and metrics are. */
function bothPorts(http: Source, grpc: Source): Source {
  return {
    watch(service, sink, signal) {
      if (service !== 'payment-service') return http.watch(service, sink, signal)

      grpc.watch(
        service,
        {
          fail: (error) => sink.fail(error),
          update: (endpoints) =>
            sink.update(
              endpoints.map((endpoint) => ({
                ...endpoint,
                meta: { http: `http://${urlHost(endpoint.host)}:${standardHttpPort}` },
              })),
            ),
        },
        signal,
      )
    },
    refresh(service) {
      http.refresh?.(service)
      grpc.refresh?.(service)
    },
  }
}

function urlHost(host: string): string {
  return host.includes(':') && !host.startsWith('[') ? `[${host}]` : host
}
