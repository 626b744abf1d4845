import type { Registry } from 'prom-client'
import { type App, createApp, type Listening, listen } from './http.js'
import { applyMigrations } from './migrations.js'
import type { Service, ServiceDeps } from './service.js'

/** The part of a bus that a service's life needs. */
export interface ServiceBus {
  start(): Promise<void>
  close(): Promise<void>
  health(): { readonly status: string }
}

export interface Background {
  start(): Promise<void>
  /** Also called when `start` failed or was never called, and again when the service is stopped again. */
  stop(): Promise<void>
}

export interface ServiceOptions {
  readonly name: string
  readonly deps: ServiceDeps
  /** The folder of the service's `*.sql` files. */
  readonly migrations: URL
  /** The service's own bus, with its subscriptions made. It is started here and closed here. */
  readonly bus: ServiceBus
  /** Adds the service's routes to what every service answers. */
  routes(app: App): void
  /** Runs once the schema is there and before anybody can ask: a first key, a warm cache. */
  prepare?(): Promise<void>
  /** Work that goes on by itself. It may publish while it runs, and requests may hand it more. */
  readonly background?: Background | undefined
  readonly registry?: Registry | undefined
}

/**
 * A service from its parts. Starting goes from the inside out (schema, bus, background, HTTP) so that nobody is answered by half a
 * service; stopping goes the other way, so that a request that is still running can publish what it did.
 */
export function createService(options: ServiceOptions): Service {
  const { name, deps, bus } = options
  let started = false
  let listening: Listening | undefined

  const app = createApp({
    name,
    log: deps.log,
    registry: options.registry,
    async ready() {
      if (!started || bus.health().status === 'down') return false
      await deps.database.query('SELECT 1')
      return true
    },
  })
  options.routes(app)

  const stop = async (): Promise<void> => {
    started = false
    try {
      await listening?.close()
      await options.background?.stop()
    } finally {
      await bus.close()
    }
  }

  return {
    name,
    stop,
    async start() {
      try {
        await applyMigrations(deps.database, options.migrations)
        await options.prepare?.()
        await bus.start()
        await options.background?.start()
        listening = await listen(app, deps.port)
      } catch (error) {
        await stop()
        throw error
      }

      started = true
      return { url: listening.url }
    },
  }
}
