import { Registry } from 'prom-client'
import { type App, createApp, type Listening, listen } from './http.js'
import { applyMigrations } from './migrations.js'
import type { Service, ServiceDeps, StopOptions } from './service.js'
import type { DeadLetterBox } from './watch/dead-letters.js'
import { operationRoutes } from './watch/operations.js'

/** The part of a bus with its outbox and inbox that a service's life needs. */
export interface ServiceMail {
  readonly bus: {
    start(): Promise<void>
    close(options?: { readonly timeout?: number | undefined }): Promise<void>
    health(): { readonly status: string }
  }
  migrate(): Promise<void>
  startRelay(): Closing
  measure(registry: Registry): void
  /** What nobody could handle of what it hears; undefined when it hears nothing. */
  readonly deadLetters?: DeadLetterBox | undefined
}

interface Closing {
  close(options?: { readonly timeout?: number | undefined }): Promise<void>
}

export interface Background {
  start(): Promise<void>
  /** Also called when `start` failed or was never called, and again when the service is stopped again. */
  stop(how: StopOptions): Promise<void>
}

export interface ServiceOptions {
  readonly name: string
  readonly deps: ServiceDeps
  /** The folder of the service's `*.sql` files. */
  readonly migrations: URL
  /** The service's own bus, with its subscriptions made. It is started here and closed here. */
  readonly mail: ServiceMail
  /** Whether anything goes out through its outbox, which is then emptied for as long as the service runs. */
  readonly publishes?: boolean | undefined
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
  const { name, deps, mail } = options
  const { bus } = mail
  let started = false
  let listening: Listening | undefined
  let relay: Closing | undefined

  const registry = options.registry ?? new Registry()
  mail.measure(registry)
  deps.instruments.edges.measure(registry)

  const app = createApp({
    name,
    log: deps.log,
    registry,
    async ready() {
      if (!started || bus.health().status === 'down') return false
      await deps.database.query('SELECT 1')
      return true
    },
  })
  operationRoutes(app, name, deps.instruments, mail.deadLetters)
  options.routes(app)

  const stop = async (how: StopOptions = {}): Promise<void> => {
    const atOnce = how.abruptly === true ? { timeout: 0 } : {}
    started = false
    try {
      await listening?.close(atOnce.timeout)
      await options.background?.stop(how)
      await relay?.close(atOnce)
    } finally {
      await bus.close(atOnce)
    }
  }

  return {
    name,
    stop,
    async start() {
      try {
        await applyMigrations(deps.database, options.migrations)
        await mail.migrate()
        await options.prepare?.()
        await bus.start()
        if (options.publishes === true) relay = mail.startRelay()
        await options.background?.start()
        listening = await listen(app, deps)
      } catch (error) {
        await stop()
        throw error
      }

      started = true
      return { url: listening.url }
    },
  }
}
