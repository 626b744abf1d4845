import type { IncomingMessage, ServerResponse } from 'node:http'
import { constants, type Http2ServerRequest, type Http2ServerResponse } from 'node:http2'

/**
 * Whether a request came over HTTP/2; Node's compatibility layer makes it look like one of HTTP/1.1, but for its stream.
 * The version does not tell: anybody can write `GET / HTTP/2.0` on a connection of HTTP/1.1.
 */
export function isHttp2(req: IncomingMessage): req is IncomingMessage & Http2ServerRequest {
  return (req as { readonly stream?: unknown }).stream !== undefined
}

/** The host that was asked for. Under HTTP/2 `:authority` says so (RFC 9113, 8.3.1). */
export function hostOf(req: IncomingMessage): string | undefined {
  return req.headers.host ?? (req.headers[':authority'] as string | undefined)
}

/** Whether all of a response has left. Node says so of a stream that was reset, too. */
export function isFinished(res: ServerResponse): boolean {
  return res.writableFinished && (!isHttp2(res.req) || res.req.stream.rstCode === constants.NGHTTP2_NO_ERROR)
}

/** Breaks a response off, so that no client takes it for whole. */
export function cut(res: ServerResponse): void {
  if (isHttp2(res.req)) (res as unknown as Http2ServerResponse).stream?.close(constants.NGHTTP2_INTERNAL_ERROR)
  else res.destroy()
}

/** Says that no more requests are taken on this connection; over HTTP/2 that is not said by a header. */
export function closeAfter(res: ServerResponse): void {
  if (!isHttp2(res.req)) res.setHeader('connection', 'close')
}
