import type { IncomingMessage, ServerResponse } from 'node:http'
import { context, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api'
import { delayed, type Faults } from './faults.js'
import type { Instruments } from './instruments.js'
import { extracted } from './spans.js'

type Next = (error?: unknown) => void
type RequestWatch = (req: IncomingMessage, res: ServerResponse, next: Next) => void

/** What keeps a service going is neither traced nor broken: its health must stay honest, and faults removable. */
const spared = /^\/(health\/|metrics$|internal\/operations\/)/

/**
 * Every request of a service, before anything else sees it: a span for it, below that of the caller, and the faults
 * that were asked for. The span is called by its method until the route is known.
 */
export function watchRequests({ faults, spans }: Pick<Instruments, 'faults' | 'spans'>): RequestWatch {
  const disturb = disturbRequests(faults)

  return function watchRequest(req, res, next) {
    const path = pathOf(req)
    if (spared.test(path)) {
      next()
      return
    }

    const method = req.method ?? 'GET'
    const parent = extracted({ get: (header) => one(req.headers[header]) })
    const attributes = { 'http.request.method': method, 'url.path': path, 'url.scheme': 'http' }
    const span = spans.tracer.startSpan(method, { kind: SpanKind.SERVER, attributes }, parent)
    res.once('close', () => {
      const { statusCode, writableFinished } = res
      if (writableFinished) span.setAttribute('http.response.status_code', statusCode)
      if (statusCode >= 500 || !writableFinished) {
        span.setAttribute('error.type', writableFinished ? String(statusCode) : 'cut')
        span.setStatus({ code: SpanStatusCode.ERROR })
      }
      span.end()
    })

    context.with(trace.setSpan(parent, span), () => disturb(req, res, next))
  }
}

/** The faults that were asked for, without a span. */
export function disturbRequests(faults: Pick<Faults, 'strike'>): RequestWatch {
  return function disturbRequest(req, res, next) {
    const strike = faults.strike(`${req.method ?? 'GET'} ${pathOf(req)}`)
    if (strike.latency === 0 && strike.then === 'go-on') return next()

    trace.getActiveSpan()?.setAttribute('shop.fault', true)
    delayed(strike).then(() => {
      if (strike.then === 'drop') req.socket.destroy()
      else if (strike.then === 'fail') fail(res)
      else next()
    }, next)
  }
}

function pathOf({ url = '/' }: IncomingMessage): string {
  return url.split('?', 1)[0] as string
}

function fail(res: ServerResponse): void {
  const problem = { type: 'about:blank', title: 'Service Unavailable', status: 503, detail: 'broken on purpose' }
  res.writeHead(503, { 'content-type': 'application/problem+json' }).end(JSON.stringify(problem))
}

function one(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value[0] : value
}
