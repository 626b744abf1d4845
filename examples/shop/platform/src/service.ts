import type { Discovery } from '@msx/discovery'
import type { Transport } from '@msx/messaging'
import type { Database } from './database.js'
import type { Log } from './log.js'
import type { Instruments } from './watch/instruments.js'

/** What a service is given by whoever runs it: embedded in one process, or as a process of its own. */
export interface ServiceDeps {
  /** The service's own database. It sees nothing of the others'. */
  readonly database: Database
  readonly transport: Transport
  /** Where the other services are. */
  readonly discovery: Discovery
  readonly log: Log
  /** What it is watched and disturbed with. */
  readonly instruments: Instruments
  /** 127.0.0.1 and a free port unless told otherwise. */
  readonly port?: number | undefined
  readonly host?: string | undefined
}

export interface StopOptions {
  /** As near to SIGKILL as it gets for one of several services in a process. */
  readonly abruptly?: boolean | undefined
}

/** One service of the shop. `start` and `stop` may each be called once. */
export interface Service {
  readonly name: string
  /**
   * Resolves with the address it answers on, once it does. A service that speaks something else than HTTP there says
   * under `http` where its health and metrics are.
   */
  start(): Promise<{ readonly url: string; readonly http?: string | undefined }>
  /** Stops taking work, finishes what is running, closes what it opened. `abruptly`: finishes nothing. */
  stop(how?: StopOptions): Promise<void>
}
