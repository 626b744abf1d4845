import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Discovery } from '@msx/discovery'
import { aString, type Check, isRecord, show } from '../internal/checks.js'
import type { PrometheusClient } from '../metrics.js'
import type { Issues } from './issues.js'
import { importPrometheus } from './libraries.js'

/** Where Prometheus finds the metrics: an address of its own, which is not the public one. */
export interface MetricsSettings {
  readonly port: number
  readonly host: string
  readonly path: string
}

/** What counts, and the page that tells. */
export interface Metrics {
  readonly deps: { readonly client: PrometheusClient<unknown>; readonly registry: unknown }
  /** Measures the endpoints of this discovery, in the place of the one before. */
  watch(discovery: Discovery | undefined): void
  /** Resolves with the page's URL. */
  listen(): Promise<string>
  close(): Promise<void>
}

const aPort: Check = (value) =>
  Number.isInteger(value) && (value as number) >= 0 && (value as number) < 65_536 ? undefined : 'a port'

const aPath: Check = (value) =>
  typeof value === 'string' && /^(?:\/[\w.~-]+)+$/.test(value) ? undefined : "a path such as '/metrics'"

/** `metrics: { port, host = '127.0.0.1', path = '/metrics' }`. */
export function readMetrics(said: unknown, issues: Issues): MetricsSettings | undefined {
  if (said === undefined) return undefined
  if (!isRecord(said)) {
    issues.add('metrics', `an object was expected, got ${show(said)}`)
    return undefined
  }

  const settings = { host: '127.0.0.1', path: '/metrics', ...said } as MetricsSettings
  issues.members(
    'metrics',
    { port: undefined, ...said },
    {
      port: aPort,
      host: aString,
      path: aPath,
    },
  )
  return settings
}

/** @throws {TypeError} without prom-client. */
export async function createMetrics({ port, host, path }: MetricsSettings): Promise<Metrics> {
  const client = await importPrometheus()
  const { prometheus } = await import('@msx/discovery/prometheus')
  const registry = new client.Registry()
  client.collectDefaultMetrics({ register: registry })
  const endpoints = prometheus({ client, registry })
  let watched: Discovery | undefined
  let unwatch: (() => void) | undefined
  const server: Server = createServer((req, res) => {
    const asked = req.url!.split('?')[0] === path
    if (!asked || (req.method !== 'GET' && req.method !== 'HEAD')) {
      res.writeHead(asked ? 405 : 404, asked ? { allow: 'GET, HEAD' } : {}).end()
      return
    }

    registry.metrics().then(
      (text) => res.writeHead(200, { 'content-type': registry.contentType }).end(text),
      () => res.writeHead(500).end(),
    )
  })

  return {
    deps: { client: client as unknown as PrometheusClient<unknown>, registry },
    watch(discovery) {
      if (discovery === watched) return

      unwatch?.()
      watched = discovery
      unwatch = discovery === undefined ? undefined : endpoints.add(discovery)
    },
    listen: () =>
      new Promise((resolve, reject) => {
        server.once('error', reject)
        server.listen(port, host, () => {
          const { port: taken } = server.address() as AddressInfo
          resolve(`http://${host.includes(':') ? `[${host}]` : host}:${taken}${path}`)
        })
      }),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
