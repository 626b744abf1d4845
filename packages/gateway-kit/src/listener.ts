import { readFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http'
import { createSecureServer, type Http2SecureServer, type ServerHttp2Session } from 'node:http2'
import { createServer as createTlsServer } from 'node:https'
import type { Duplex } from 'node:stream'
import { createSecureContext, type SecureContext } from 'node:tls'
import { answerClientError } from './client-error.js'
import { isHttp2 } from './http2.js'
import { problem } from './problem.js'

/** A certificate with its chain, and its key: PEM as text, or the path of a file that has it. */
export interface Certificate {
  readonly cert: string
  readonly key: string
}

export interface TlsConfig extends Certificate {
  /** Other certificates by the name that the client asks for: `shop.example`, or `*.shop.example` for one label. */
  readonly sni?: Readonly<Record<string, Certificate>> | undefined
}

export interface ListenConfig {
  readonly port: number
  /** Default: all interfaces. */
  readonly host?: string | undefined
  /** Default: without TLS. A reload reads the files again and takes new certificates for new connections. */
  readonly tls?: TlsConfig | undefined
  /** Whether clients may choose HTTP/2; it needs `tls`. Default `false`. */
  readonly http2?: boolean | undefined
}

/** What a client may take of the listener before it has sent a request. */
export interface ConnectionLimits {
  /** Bytes of the head of a request; more is a 431. Default 16_384. */
  readonly headerBytes?: number | undefined
  /** Milliseconds for the head of a request of HTTP/1.1 to arrive; more is a 408. Default 15_000. */
  readonly headerTimeout?: number | undefined
  /** Milliseconds that a connection may be idle between two requests. Default 5_000. */
  readonly keepAliveTimeout?: number | undefined
  /** Connections at once; more are closed as they come. Default: no limit. */
  readonly connections?: number | undefined
}

/** The certificates of a listener, read and understood. */
export interface Certificates {
  readonly options: { readonly cert: string; readonly key: string }
  find(name: string): SecureContext | undefined
}

/** Throws when a file is missing or is no certificate. */
export function readCertificates({ sni = {}, ...main }: TlsConfig): Certificates {
  const options = readPair(main)
  createSecureContext(options)
  const named = new Map<string, SecureContext>()
  for (const [name, pair] of Object.entries(sni)) named.set(name.toLowerCase(), createSecureContext(readPair(pair)))

  return {
    options,
    find(name) {
      const lower = name.toLowerCase()
      return named.get(lower) ?? named.get(lower.replace(/^[^.]+/, '*'))
    },
  }
}

function readPair({ cert, key }: Certificate): { cert: string; key: string } {
  return { cert: pem(cert), key: pem(key) }
}

const pem = (text: string): string => (text.includes('-----BEGIN ') ? text : readFileSync(text, 'utf8'))

/** A server and what it takes to change its certificates and to end it. */
export interface Listener {
  readonly server: Server
  /** For new connections; those there are keep what they have. */
  use(certificates: Certificates): void
  /** Whether requests for another protocol are handed over. Where they are not, Node serves them as if they had not asked. */
  takeUpgrades(taken: boolean): void
  /** Takes no more connections, and ends those that are idle. Resolves when all are gone. */
  close(): Promise<void>
  /** Ends the connections on which nothing is under way. */
  closeIdle(): void
  destroy(): void
}

export interface Handlers {
  onRequest: RequestListener
  onUpgrade(req: IncomingMessage, socket: Duplex, head: Buffer): void
}

const CONNECT_REFUSAL =
  'HTTP/1.1 405 Method Not Allowed\r\nAllow: DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT\r\nConnection: close\r\nContent-Length: 0\r\n\r\n'

export function createListener(
  { http2 = false }: Partial<ListenConfig>,
  first: Certificates | undefined,
  { headerBytes = 16_384, headerTimeout = 15_000, keepAliveTimeout = 5_000, connections }: ConnectionLimits,
  { onRequest, onUpgrade }: Handlers,
): Listener {
  let certificates = first
  const sessions = new Set<ServerHttp2Session>()
  const tls = {
    ...first?.options,
    SNICallback: (name: string, done: (error: Error | null, context?: SecureContext) => void) =>
      done(null, certificates?.find(name)),
  }
  const common = { maxHeaderSize: headerBytes, connectionsCheckingInterval: 1_000 }
  // A listener that is not there may be asked for what it is not: then it is a server of HTTP/1.1 as any other.
  const server = (
    first === undefined
      ? createServer(common)
      : http2
        ? createSecureServer({ ...tls, ...common, allowHTTP1: true, settings: { maxConcurrentStreams: 128 } } as never)
        : createTlsServer({ ...tls, ...common })
  ) as Server & Partial<Http2SecureServer>

  server.headersTimeout = headerTimeout
  server.keepAliveTimeout = keepAliveTimeout
  // Of a body only silence is limited, by the route's `timeout.idle`: a long upload takes the time it takes.
  server.requestTimeout = 0
  if (connections !== undefined) server.maxConnections = connections
  // Node has no such limit for HTTP/2 but one of its own, and a setting holds only once the client has agreed to it.
  server.on('request', (req, res) => {
    if (isHttp2(req) && headLength(req) > headerBytes) problem(res, 431, { detail: 'The header fields are too large.' })
    else onRequest(req, res)
  })
  // Node hands these to nobody else, and would hang up without a word.
  server.on('connect', (req: IncomingMessage, socket: Duplex) => {
    if (isHttp2(req)) (socket as unknown as ServerResponse).writeHead(405).end()
    else socket.end(CONNECT_REFUSAL)
  })
  server.on('clientError', answerClientError)
  server.on('session', (session: ServerHttp2Session) => {
    sessions.add(session)
    session.once('close', () => sessions.delete(session))
    endWhenIdle(session, keepAliveTimeout)
  })

  const closeIdle = (): void => server.closeIdleConnections?.()

  return {
    server,
    use(next) {
      certificates = next
      ;(server as Partial<Http2SecureServer>).setSecureContext?.(next.options)
    },
    takeUpgrades(taken) {
      server.off('upgrade', onUpgrade)
      if (taken) server.on('upgrade', onUpgrade)
    },
    close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      closeIdle()
      for (const session of sessions) session.close()
      return closed
    },
    closeIdle,
    destroy() {
      server.closeAllConnections?.()
      for (const session of sessions) session.destroy()
    },
  }
}

/** Node tells how long nothing has moved; whether something is still being waited for, the streams tell. */
function endWhenIdle(session: ServerHttp2Session, ms: number): void {
  let streams = 0
  session.on('stream', (stream) => {
    streams += 1
    stream.once('close', () => {
      streams -= 1
    })
  })
  session.setTimeout(ms, () => {
    if (streams === 0) session.close()
  })
}

/** With what separates names and values where they are lines. */
function headLength({ rawHeaders }: IncomingMessage): number {
  return rawHeaders.reduce((length, text) => length + text.length + 2, 0)
}
