import { createHash, randomBytes } from 'node:crypto'
import { type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Dispatcher } from 'undici'
import { Attempt, type AttemptHost, type Head } from './attempt.js'
import { after, type Clock } from './clock.js'
import { contextOf, tellWhenOver, type Upgrade } from './context.js'
import type { Deadlines } from './deadlines.js'
import { endResponse, hasBody } from './ending.js'
import { ProxyError } from './errors.js'
import { type Forwarding, followed, headersFor } from './exchange.js'
import { answerFailure } from './failure.js'
import { Flow } from './flow.js'
import { loops, passedOn, requestHeaders, sendHead } from './headers.js'
import { hostOf, isHttp2 } from './http2.js'
import type { AttemptSpan } from './telemetry.js'
import type { ResolvedTimeouts } from './timeouts.js'

/** Whether this is the opening handshake of a WebSocket (RFC 6455, 4.2.1; over HTTP/2 RFC 8441, 4). */
export function opensWebSocket(req: IncomingMessage): boolean {
  if (isHttp2(req)) return req.headers[':protocol'] === 'websocket'

  return (
    req.method === 'GET' &&
    req.httpVersion === '1.1' &&
    req.headers.upgrade?.toLowerCase() === 'websocket' &&
    req.headers['sec-websocket-key'] !== undefined &&
    !hasBody(req)
  )
}

/** What the upstream has to answer to a key (RFC 6455, 4.2.2). */
const acceptOf = (key: string): string =>
  createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64')

/** How many bytes are kept of a client that does not wait for its 101. */
const MOST_EARLY = 65_536

/** How long one side may take to read what is left after the other has gone, in milliseconds. */
const LINGER = 10_000

/** How long nothing has to pass before a conversation counts as over, in milliseconds. */
const QUIET = 1_000

/** How long one side may take to answer that it is over, in milliseconds. */
const PATIENCE = 1_000

/** How long the last bytes may take to leave a connection that is cut, in milliseconds. */
const LAST_BYTES = 500

/** After how long the kernel asks whether a silent client is still there, in milliseconds. */
const KEEP_ALIVE = 60_000

/**
 * One WebSocket on its way to an upstream. The handshake is a request like any other, and any answer but 101 is passed
 * on; from the 101 on the bytes of both sides go through as they are, each no faster than its reader takes them, until
 * one side ends, nothing has passed for `timeout.tunnel`, or the gateway closes. In the two latter cases both sides are
 * told by a Close frame, where no other frame is under way; the client first, so that what it has sent until it hears
 * of it still arrives.
 */
export class Tunnel implements AttemptHost {
  readonly #req: IncomingMessage
  readonly #res: ServerResponse
  readonly #client: Duplex
  /** What the client sent before it had its 101. */
  readonly #early: Buffer[]
  #earlyBytes = 0
  readonly #plan: Forwarding
  readonly #target: string
  /** A client of HTTP/2 has none of its own, so that the upstream's answer to it is for us to look at. */
  readonly #key: string | undefined
  #attempt: Attempt | undefined
  #upstream: Duplex | undefined
  #over = false
  #switched: (() => void) | undefined
  #down: Flow | undefined
  #up: Flow | undefined
  #touched = 0
  #leaving = false
  /** One at a time: for silence, for a quiet moment, or for an answer. */
  #cancel: (() => void) | undefined
  #cancelCut: (() => void) | undefined

  constructor(req: IncomingMessage, res: ServerResponse, { socket, head }: Upgrade, plan: Forwarding, target: string) {
    this.#req = req
    this.#res = res
    this.#client = socket
    this.#early = [head]
    this.#plan = plan
    this.#target = target
    this.#key = isHttp2(req) ? randomBytes(16).toString('base64') : undefined
  }

  get clock(): Clock {
    return this.#plan.clock
  }

  get connecting(): Deadlines | undefined {
    return this.#plan.connecting
  }

  get timeouts(): ResolvedTimeouts {
    return this.#plan.timeouts
  }

  get breaker(): Forwarding['breaker'] {
    return this.#plan.breaker
  }

  get dispatcher(): Dispatcher {
    return this.#plan.dispatcher
  }

  /** `switched` hears that it is no request any more. */
  async run(switched: () => void): Promise<void> {
    this.#switched = switched
    tellWhenOver(this.#req, this.#res, this)
    if (this.#over) return

    // Who does not read does not learn that the other side is gone.
    this.#client.on('data', this.#gather).once('end', this.#gone)
    const { upstream, request, preserveHost } = this.#plan
    try {
      if (loops(this.#req, request.via)) throw new ProxyError('loop', 'request')

      const host = (preserveHost ? hostOf(this.#req) : undefined) ?? upstream.host
      const headers = this.#withKey(requestHeaders(this.#req, host, request))
      const pick = await upstream.pick(undefined)
      if (this.#over) {
        pick.lease?.done('cancelled')
        return
      }

      const context = contextOf(this.#req)
      context.upstream = pick.origin
      context.attempts += 1
      this.#attempt = new Attempt(this, pick)
      this.#attempt.start(
        {
          origin: pick.origin,
          path: (pick.basePath ?? upstream.basePath) + this.#target,
          method: 'GET',
          upgrade: 'websocket',
          headers: headersFor(headers, pick, this.#plan),
          headersTimeout: 0,
          bodyTimeout: 0,
        },
        false,
      )
    } catch (error) {
      this.#fail(error instanceof ProxyError ? error : new ProxyError('internal', 'request', { cause: error }))
    }
  }

  /** Tells both sides, as soon as nothing has passed for a moment, that it is over. */
  leave(): void {
    this.#leaving = true
    if (this.#upstream !== undefined) this.#waitForQuiet()
  }

  /** Ends what is open; what can still be said is said. */
  cut(): void {
    if (this.#upstream === undefined) {
      this.#client.destroy()
      return
    }

    this.#down?.partNow()
    this.#up?.partNow()
    this.#end()
  }

  #waitForQuiet(): void {
    const left = this.#touched + QUIET - this.clock.now()
    if (left > 0) this.#arm(left, () => this.#waitForQuiet())
    else this.#part()
  }

  #watchSilence(limit: number): void {
    const left = this.#touched + limit - this.clock.now()
    if (left > 0) {
      this.#arm(left, () => this.#watchSilence(limit))
      return
    }

    contextOf(this.#req).error = new ProxyError('timeout', 'response')
    this.#part()
    // A frame that has begun and does not end is not waited for.
    this.#cancelCut = after(this.clock, 3 * PATIENCE, () => this.cut())
  }

  /** The client answers with a Close frame of its own, which tells the upstream; if it does not, we do. */
  #part(): void {
    this.#cancel?.()
    this.#down?.part(() => this.#arm(PATIENCE, () => this.#up?.part(() => this.#arm(PATIENCE, () => this.#end()))))
  }

  #end(): void {
    const sockets = [this.#client, this.#upstream!]
    for (const socket of sockets) {
      socket.resume()
      socket.end(() => socket.destroy())
    }
    setTimeout(() => {
      for (const socket of sockets) socket.destroy()
    }, LAST_BYTES).unref()
  }

  #arm(ms: number, run: () => void): void {
    this.#cancel?.()
    this.#cancel = after(this.clock, ms, run)
  }

  /** The client is gone before there was an answer. */
  over(): void {
    if (!this.#over) this.#fail(new ProxyError('client-gone', 'request'))
  }

  follow(options: Dispatcher.DispatchOptions): AttemptSpan | undefined {
    return followed(this.#req, options)
  }

  clientStalls(): boolean {
    return this.#res.headersSent
  }

  onInformation(): void {}

  onHead(attempt: Attempt, head: Head): void {
    if (this.#over) return
    // To CONNECT any 2xx says that the WebSocket is open.
    if (this.#key !== undefined && head.status < 300) {
      this.#fail(new ProxyError('bad-response', 'request'))
      return
    }

    try {
      sendHead(this.#res, head, this.#plan.response, true)
    } catch (cause) {
      this.#fail(new ProxyError('bad-response', 'request', { cause }))
      return
    }
    attempt.resume()
  }

  onData(chunk: Buffer): boolean {
    const more = this.#res.write(chunk)
    if (!more) this.#res.once('drain', () => this.#attempt?.resume())
    return more
  }

  onEnd(): void {
    this.#over = true
    this.#client.off('data', this.#gather).off('end', this.#gone).resume()
    endResponse(this.#res)
  }

  onFailure(_attempt: Attempt, error: ProxyError): void {
    this.#fail(error)
  }

  onUpgrade(attempt: Attempt, head: Head, upstream: Duplex): void {
    const { upgrade, 'sec-websocket-accept': accepted } = head.headers
    const isOurs = this.#key === undefined || accepted === acceptOf(this.#key)
    try {
      if (typeof upgrade !== 'string' || upgrade.toLowerCase() !== 'websocket' || !isOurs)
        throw new Error('the upstream switched to something else')

      this.#switch(head)
    } catch (cause) {
      upstream.destroy()
      attempt.closed('failure')
      this.#fail(new ProxyError('bad-response', 'request', { cause }))
      return
    }

    this.#over = true
    this.#upstream = upstream
    this.#switched?.()
    const client = this.#client
    client.off('data', this.#gather).off('end', this.#gone)
    const touch = (): void => {
      this.#touched = this.clock.now()
    }
    touch()
    this.#up = new Flow(client, upstream, true, touch)
    this.#down = new Flow(upstream, client, false, touch)
    this.#up.start(this.#early.splice(0))
    this.#down.start([])
    const { tunnel } = this.timeouts
    if (this.#leaving) this.#waitForQuiet()
    else if (tunnel !== false) this.#watchSilence(tunnel)

    let open = 2
    const closed = (): void => {
      open -= 1
      if (open > 0) return

      this.#cancel?.()
      this.#cancelCut?.()
      attempt.closed('success')
      // The response has no socket any more that could tell it; the log and the count of what is under way wait for it.
      if (this.#key === undefined) this.#res.emit('close')
    }
    tie(client, upstream, this.clock, closed)
    tie(upstream, client, this.clock, closed)
  }

  /** Tells the client that its WebSocket is open: by 101, or over HTTP/2, where only its stream changes hands, by 200. */
  #switch(head: Head): void {
    const context = contextOf(this.#req)
    if (this.#key !== undefined) {
      const headers = passedOn(head, ['sec-websocket-accept', ''], undefined, context.corsSaid)
      sendHead(this.#res, { status: 200, headers: head.headers, raw: headers }, this.#plan.response, false)
      context.switched = true
      return
    }

    context.switched = true
    const client = this.#client as Socket
    this.#res.detachSocket(client)
    client.setKeepAlive?.(true, KEEP_ALIVE)
    client.write(switching(head, this.#plan.response, context.corsSaid), 'latin1')
  }

  #withKey(headers: string[]): string[] {
    if (this.#key === undefined) return headers

    const without = headers.filter((_, index) => headers[index - (index % 2)]!.toLowerCase() !== 'sec-websocket-key')
    return [...without, 'sec-websocket-key', this.#key]
  }

  readonly #gather = (chunk: Buffer): void => {
    this.#early.push(chunk)
    this.#earlyBytes += chunk.byteLength
    if (this.#earlyBytes > MOST_EARLY) this.#client.pause()
  }

  /** Half a connection is no use to a WebSocket. */
  readonly #gone = (): void => void this.#client.destroy()

  #fail(error: ProxyError): void {
    if (this.#over) return

    this.#over = true
    this.#client.off('data', this.#gather).off('end', this.#gone).resume()
    this.#attempt?.abandon(error)
    answerFailure(this.#res, error, this.#plan.onError)
  }
}

/** When one side is gone, the other gets what is still on its way to it, and then it goes too. */
function tie(one: Duplex, other: Duplex, clock: Clock, closed: () => void): void {
  one.on('error', () => other.destroy())
  one.once('close', () => {
    closed()
    if (other.destroyed) return
    if (other.writableFinished) {
      other.destroy()
      return
    }

    const cancel = after(clock, LINGER, () => other.destroy())
    other.once('close', cancel)
    other.end(() => other.destroy())
  })
}

/** The head of the 101 for the client; what concerns the connection is said anew. */
function switching(head: Head, rules: Forwarding['response'], corsSaid: boolean): string {
  const lines = [`HTTP/1.1 101 ${STATUS_CODES[101]}`, 'Connection: Upgrade', 'Upgrade: websocket']
  const headers = passedOn(head, [], rules, corsSaid)
  for (let index = 0; index < headers.length; index += 2) lines.push(`${headers[index]}: ${headers[index + 1]}`)

  return `${lines.join('\r\n')}\r\n\r\n`
}
