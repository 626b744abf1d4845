import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import { setImmediate as turnOfTheLoop } from 'node:timers/promises'
import { checkDuration, checkFunction, wrongOption } from '../internal/options.js'
import { Connections } from './connections.js'

/** Durations in milliseconds. */
export interface GracefulServerOptions {
  /** The registration of this server, ended first: what `register` resolved with. Default: none. */
  readonly registered?: { deregister(): Promise<unknown> } | undefined
  /**
   * How long the server goes on taking requests after it is deregistered: as long as it takes until everybody has heard,
   * so at least the interval of DNS caches and of readiness probes. Default: 5_000.
   */
  readonly drainDelay?: number | undefined
  /** How long the whole drain may take, from the call; what is not answered by then is cut off. Default: 25_000. */
  readonly deadline?: number | undefined
  /** Called once, as the drain begins: for what should stop at the same time, such as consumers of a queue. */
  readonly onDrain?: (() => void) | undefined
}

/** What a drain came to. */
export interface Drained {
  /** Connections that were cut at the deadline, with a request unanswered. 0 when all went well. */
  readonly cut: number
  /** Why the instance may still be in the registry. The drain goes on all the same. */
  readonly error?: unknown
}

/** A server that can be stopped without a failed request. */
export interface GracefulServer {
  /** Whether requests should be sent here: it listens, and no drain has begun. */
  readonly ready: boolean
  /** Answers a readiness probe: 200 while `ready`, else 503. */
  readonly readiness: (request: IncomingMessage, response: ServerResponse) => void
  /**
   * Stops the server in the order that loses no request: not ready any more, deregistered, still serving for `drainDelay`
   * and answering with `Connection: close`, then not listening any more, then what is in flight ends, at most until
   * `deadline`. Never rejects, and never takes longer than `deadline`. Later calls get the same promise.
   */
  drain(): Promise<Drained>
}

/** A registry that does not answer may use up this part of the deadline. */
const DEREGISTER_SHARE = 1 / 3

/** After the listener is closed, a connection without a request has this long to send one it may have sent already. */
const LAST_CALL = 500

/**
 * Makes an http or https server of Node one that can be drained. Call it before the server takes requests; it changes
 * nothing until `drain`.
 *
 * Node's own `server.close()` cuts idle connections at once, and with them the requests that are on their way on them.
 *
 * Throws a TypeError for a wrong argument.
 *
 * @example
 * ```ts
 * const graceful = gracefulServer(server, { registered })
 * process.once('SIGTERM', async () => {
 *   await graceful.drain()
 *   await discovery.close()
 * })
 * ```
 */
export function gracefulServer(server: Server, options: GracefulServerOptions = {}): GracefulServer {
  if (typeof server?.closeAllConnections !== 'function') throw wrongOption('server', server, 'an http or https server')
  if (typeof options !== 'object' || options === null) throw wrongOption('options', options, 'an object')
  const { registered, drainDelay = 5_000, deadline = 25_000, onDrain } = options

  if (registered !== undefined && typeof registered?.deregister !== 'function') {
    throw wrongOption('registered', registered, 'what register() resolved with')
  }
  checkDuration('drainDelay', drainDelay)
  checkDuration('deadline', deadline)
  checkFunction('onDrain', onDrain)

  const connections = new Connections(server)
  let draining: Promise<Drained> | undefined

  const isReady = () => server.listening && draining === undefined
  const drain = async (): Promise<Drained> => {
    const begun = performance.now()
    const left = () => Math.max(deadline - (performance.now() - begun), 0)

    connections.closeAfterNextResponse()
    const failures: unknown[] = []
    try {
      onDrain?.()
    } catch (error) {
      failures.push(error)
    }
    failures.push(...(await deregister(registered, deadline * DEREGISTER_SHARE)))
    await sleep(Math.min(drainDelay, left()))
    await whatHasArrived()

    const closed = connections.stopListening()
    await within(Math.min(LAST_CALL, left()), closed)
    await whatHasArrived()
    connections.closeIdle()
    await within(left(), closed)

    const cut = connections.closeAll()
    return failures.length === 0 ? { cut } : { cut, error: failures[0] }
  }

  return {
    get ready() {
      return isReady()
    },
    readiness(_, response) {
      const ready = isReady()
      response.writeHead(ready ? 200 : 503, { 'content-type': 'text/plain', 'cache-control': 'no-store' })
      response.end(ready ? 'ready' : 'draining')
    },
    drain() {
      // Not ready from this moment on, even for what drain() itself calls.
      if (draining === undefined) {
        let settle!: (drained: Drained) => void
        draining = new Promise((resolve) => {
          settle = resolve
        })
        void drain().then(settle)
      }
      return draining
    },
  }
}

/** What went wrong, if anything. A registry that does not answer must not stop the server from stopping. */
async function deregister(registered: GracefulServerOptions['registered'], limit: number): Promise<unknown[]> {
  if (registered === undefined) return []

  const silence = new Error(`deregister() did not settle within ${Math.round(limit)} ms; the drain went on without it`)
  let outcome: unknown[] = [silence]
  const attempt = Promise.resolve()
    .then(() => registered.deregister())
    .then(
      () => {
        outcome = []
      },
      (error: unknown) => {
        outcome = [error]
      },
    )
  await within(limit, attempt)
  return outcome
}

/** Lets a process that was busy take in the connections and requests that wait in the kernel: they would be reset. */
async function whatHasArrived(): Promise<void> {
  await turnOfTheLoop()
  await turnOfTheLoop()
}

/** Until the promise settles, or the time is over. Somebody awaits the drain, so these timers keep the process alive. */
async function within(ms: number, promise: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const over = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms)
  })
  await Promise.race([promise, over])
  clearTimeout(timer)
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
