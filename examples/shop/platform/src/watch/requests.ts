import type { IncomingMessage, ServerResponse } from 'node:http'
import { context, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api'
import { delayed } from './faults.js'
import type { Instruments } from './instruments.js'
import { extracted, inject } from './spans.js'

type Next = (error?: unknown) => void

/** What keeps a service going is neither traced nor broken: its health must stay honest, and faults removable. */
const spared = /^\/(health\/|metrics$|internal\/operations\/|ops(\/|$))/

/**
 * Every request of a service, before anything else sees it: a span for it, below that of the caller, and the faults
 * that were asked for. What is sent on from here belongs to the span; `name` is what the span is called.
 */
export function watchRequests(
  { faults, spans }: Pick<Instruments, 'faults' | 'spans'>,
  name: (req: IncomingMessage) => string,
) {
  return function watchRequest(req: IncomingMessage, res: ServerResponse, next: Next): void {
    const path = (req.url ?? '/').split('?', 1)[0] as string
    if (spared.test(path)) {
      next()
      return
    }

    const method = req.method ?? 'GET'
    const parent = extracted({ get: (header) => one(req.headers[header]) })
    const attributes = { 'http.request.method': method }
    const span = spans.tracer.startSpan(name(req), { kind: SpanKind.SERVER, attributes }, parent)
    res.once('close', () => {
      span.setAttribute('http.response.status_code', res.statusCode)
      if (res.statusCode >= 500 || !res.writableFinished) span.setStatus({ code: SpanStatusCode.ERROR })
      span.end()
    })

    context.with(trace.setSpan(parent, span), () => {
      handOn(req)
      const strike = faults.strike(`${method} ${path}`)
      if (strike.latency === 0 && strike.then === 'go-on') return next()

      span.setAttribute('shop.fault', true)
      delayed(strike).then(() => {
        if (strike.then === 'drop') req.socket.destroy()
        else if (strike.then === 'fail') fail(res)
        else next()
      }, next)
    })
  }
}

/** A proxy sends on what it received, header by header: so the present span is written where it looks. */
function handOn(req: IncomingMessage): void {
  inject({
    set(name, value) {
      const at = req.rawHeaders.findIndex((header, index) => index % 2 === 0 && header.toLowerCase() === name)
      if (at === -1) req.rawHeaders.push(name, value)
      else req.rawHeaders[at + 1] = value
    },
  })
}

function fail(res: ServerResponse): void {
  const problem = { type: 'about:blank', title: 'Service Unavailable', status: 503, detail: 'broken on purpose' }
  res.writeHead(503, { 'content-type': 'application/problem+json' }).end(JSON.stringify(problem))
}

function one(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value[0] : value
}
