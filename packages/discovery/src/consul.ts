/// <reference lib="esnext.disposable" preserve="true" />

import { type ConsulOptions, readOptions } from './consul/options.js'
import { defineService } from './consul/registration.js'
import { Upkeep } from './consul/upkeep.js'
import { watchService } from './consul/watch.js'
import type { Registry, TtlCheck } from './registry.js'
import type { Source } from './source.js'

export type { ConsulClient } from './consul/client-api.js'
export type { ConsulTls, TokenSource } from './consul/credentials.js'
export type { ConsulClientOptions, ConsulHttpOptions, ConsulOptions } from './consul/options.js'

/**
 * Consul, as a source of endpoints and as a registry of them.
 *
 * Watches with blocking queries on `/v1/health/service/:service`: a change is known at once. While Consul is away the last
 * list stays in use, and it is asked again after 0.1 to 10 seconds. Needs Consul 1.3 or newer.
 *
 * Throws a TypeError for a wrong option.
 *
 * @example
 * ```ts
 * const registry = consul({ url: 'http://127.0.0.1:8500' })
 * const discovery = createDiscovery({ source: registry })
 *
 * const registered = await registry.register({ name: 'user-service', host: '10.0.0.7', port: 3001, check: { ttl: 15_000 } })
 * process.once('SIGTERM', () => registered.deregister())
 * ```
 */
export function consul(options: ConsulOptions = {}): Source & Registry {
  const settings = readOptions(options)

  return {
    watch(service, sink, signal) {
      void watchService(service, sink, signal, settings)
    },

    async register(registration) {
      const service = defineService(registration)
      const ttl = (registration.check as Partial<TtlCheck> | undefined)?.ttl
      return new Upkeep(service, { ...settings, ttl }).start()
    },
  }
}
