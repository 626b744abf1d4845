import { type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Dispatcher } from 'undici'
import { Attempt, type AttemptHost, type Head } from './attempt.js'
import { after, type Clock } from './clock.js'
import { contextOf, tellWhenOver, type Upgrade } from './context.js'
import { hasBody } from './ending.js'
import { ProxyError } from './errors.js'
import { type Forwarding, headersFor } from './exchange.js'
import { answerFailure } from './failure.js'
import { loops, passedOn, requestHeaders, sendHead } from './headers.js'
import { hostOf } from './http2.js'
import type { ResolvedTimeouts } from './timeouts.js'

/** Whether this is the opening handshake of a WebSocket (RFC 6455, 4.2.1). */
export function opensWebSocket(req: IncomingMessage): boolean {
  return (
    req.method === 'GET' &&
    req.httpVersion === '1.1' &&
    req.headers.upgrade?.toLowerCase() === 'websocket' &&
    req.headers['sec-websocket-key'] !== undefined &&
    !hasBody(req)
  )
}

/** How many bytes are kept of a client that does not wait for its 101. */
const MOST_EARLY = 65_536

/** How long one side may take to read what is left after the other has gone, in milliseconds. */
const LINGER = 10_000

/**
 * One WebSocket on its way to an upstream. The handshake is a request like any other, and any answer but 101 is passed
 * on; from the 101 on the bytes of both sides go through as they are, each no faster than its reader takes them, until
 * one side ends.
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
  #attempt: Attempt | undefined
  #upstream: Duplex | undefined
  #over = false
  #switched: (() => void) | undefined

  constructor(req: IncomingMessage, res: ServerResponse, { socket, head }: Upgrade, plan: Forwarding, target: string) {
    this.#req = req
    this.#res = res
    this.#client = socket
    this.#early = [head]
    this.#plan = plan
    this.#target = target
  }

  get clock(): Clock {
    return this.#plan.clock
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
      const headers = requestHeaders(this.#req, host, request)
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

  /** Ends what is open, at once. */
  cut(): void {
    this.#upstream?.destroy()
    this.#client.destroy()
  }

  /** The client is gone before there was an answer. */
  over(): void {
    if (!this.#over) this.#fail(new ProxyError('client-gone', 'request'))
  }

  clientStalls(): boolean {
    return this.#res.headersSent
  }

  onInformation(): void {}

  onHead(attempt: Attempt, head: Head): void {
    if (this.#over) return

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
    this.#res.end()
  }

  onFailure(_attempt: Attempt, error: ProxyError): void {
    this.#fail(error)
  }

  onUpgrade(attempt: Attempt, head: Head, upstream: Duplex): void {
    const upgrade = head.headers['upgrade']
    if (typeof upgrade !== 'string' || upgrade.toLowerCase() !== 'websocket') {
      upstream.destroy()
      this.#fail(new ProxyError('bad-response', 'request'))
      return
    }

    this.#over = true
    this.#upstream = upstream
    this.#switched?.()
    const client = this.#client
    this.#res.detachSocket(client as Socket)
    client.write(switching(head, this.#plan.response, contextOf(this.#req).corsSaid), 'latin1')
    client.off('data', this.#gather).off('end', this.#gone)
    for (const chunk of this.#early.splice(0)) if (chunk.byteLength > 0) upstream.write(chunk)
    client.pipe(upstream)
    upstream.pipe(client)

    let open = 2
    const closed = (): void => {
      open -= 1
      if (open > 0) return

      attempt.closed()
      contextOf(this.#req).switched = true
      // The response has no socket any more that could tell it; the log and the count of what is under way wait for it.
      this.#res.emit('close')
    }
    tie(client, upstream, this.clock, closed)
    tie(upstream, client, this.clock, closed)
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
