import { readFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http'
import { createSecureServer, type Http2SecureServer, type ServerHttp2Session } from 'node:http2'
import { createServer as createTlsServer } from 'node:https'
import type { Duplex } from 'node:stream'
import { createSecureContext, type SecureContext } from 'node:tls'
import { answerClientError } from './client-error.js'
import { isHttp2 } from './http2.js'
import { methodsTaken } from './max-forwards.js'
import { afterAnswers } from './pipelining.js'
import { problem } from './problem.js'
import { refuse } from './refusal.js'
import { watchSession } from './sessions.js'

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
  /**
   * Milliseconds for the handshake of TLS, for the head of a request of HTTP/1.1 to arrive (more is a 408), and for the
   * first request of a session of HTTP/2. Default 15_000.
   */
  readonly headerTimeout?: number | undefined
  /**
   * Milliseconds that a connection may be idle between two requests. Over HTTP/2 neither pings nor header fields that do
   * not come to their end make it less idle. Default 5_000.
   */
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
  /** A request that expects something else than 100-continue. */
  onExpectation: RequestListener
  onUpgrade(req: IncomingMessage, socket: Duplex, head: Buffer): void
  /** A request of HTTP/2 for another protocol on its stream (RFC 8441). */
  onConnect: RequestListener
}

/** What sessions of HTTP/2 are told of us. */
const settings = { maxConcurrentStreams: 128 }

/** How often Node looks for requests that are too late, in milliseconds. */
const CHECKING_INTERVAL = 1_000

const CONNECT_REFUSAL = `HTTP/1.1 405 Method Not Allowed\r\nAllow: ${methodsTaken}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`

export function createListener(
  { http2 = false }: Partial<ListenConfig>,
  first: Certificates | undefined,
  { headerBytes = 16_384, headerTimeout = 15_000, keepAliveTimeout = 5_000, connections }: ConnectionLimits,
  { onRequest, onExpectation, onUpgrade, onConnect }: Handlers,
): Listener {
  let certificates = first
  const sessions = new Set<ServerHttp2Session>()
  const tls = {
    ...first?.options,
    SNICallback: (name: string, done: (error: Error | null, context?: SecureContext) => void) =>
      done(null, certificates?.find(name)),
  }
  const common = { maxHeaderSize: headerBytes, connectionsCheckingInterval: CHECKING_INTERVAL }
  const secure = { ...tls, ...common, ...(headerTimeout > 0 && { handshakeTimeout: headerTimeout }) }
  // A listener that is not there may be asked for what it is not: then it is a server of HTTP/1.1 as any other.
  const server = (
    first === undefined
      ? createServer(common)
      : http2
        ? createSecureServer({ ...secure, allowHTTP1: true, settings } as never)
        : createTlsServer(secure)
  ) as Server & Partial<Http2SecureServer>

  // Of a listener for HTTP/2 Node does not take it as an option.
  Object.assign(server, { connectionsCheckingInterval: CHECKING_INTERVAL })
  server.headersTimeout = headerTimeout
  server.keepAliveTimeout = keepAliveTimeout
  // Of a body only silence is limited, by the route's `timeout.idle`: a long upload takes the time it takes.
  server.requestTimeout = 0
  if (connections !== undefined) server.maxConnections = connections
  // Node has no such limit for HTTP/2 but one of its own, and a setting holds only once the client has agreed to it.
  const takeBy =
    (listener: RequestListener): RequestListener =>
    (req, res) => {
      if (isHttp2(req)) takeStream(req, res, listener)
      else listener(req, res)
    }
  server.on('request', takeBy(onRequest))
  server.on('checkExpectation', takeBy(onExpectation))
  // Node hands these to nobody else, and would hang up without a word.
  server.on('connect', (req: IncomingMessage, socket: Duplex | ServerResponse) => {
    if (!isHttp2(req)) refuseConnect(socket as Duplex)
    else if (req.headers[':protocol'] === undefined)
      refuse(socket as ServerResponse, { status: 405, detail: 'CONNECT is not spoken here.' })
    else takeStream(req, socket as ServerResponse, onConnect)
  })
  server.on('clientError', answerClientError)
  server.on('session', (session: ServerHttp2Session) => {
    sessions.add(session)
    session.once('close', () => sessions.delete(session))
    watchSession(session, { headerTimeout, keepAliveTimeout })
  })

  function takeStream(req: IncomingMessage, res: ServerResponse, listener: RequestListener): void {
    if (headLength(req) > headerBytes) problem(res, 431, { detail: 'The header fields are too large.' })
    // What is reset by the bytes that came with it must not have cost a connection to the upstream by then.
    else setImmediate(listener, req, res)
  }

  const closeIdle = (): void => server.closeIdleConnections?.()

  return {
    server,
    use(next) {
      certificates = next
      ;(server as Partial<Http2SecureServer>).setSecureContext?.(next.options)
    },
    takeUpgrades(taken) {
      server.off('upgrade', onUpgrade)
      if (taken)
        server.on('upgrade', onUpgrade)
        // Sessions that there are keep what they were told.
      ;(server as Partial<Http2SecureServer>).updateSettings?.({ ...settings, enableConnectProtocol: taken })
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

/** Node has let go of the socket: nobody else hears its errors, reads its end, or closes it. */
function refuseConnect(socket: Duplex): void {
  socket.on('error', () => socket.destroy())
  afterAnswers(socket, () => socket.resume().end(CONNECT_REFUSAL, () => socket.destroy()))
}

/** With what separates names and values where they are lines. */
function headLength({ rawHeaders }: IncomingMessage): number {
  return rawHeaders.reduce((length, text) => length + text.length + 2, 0)
}
