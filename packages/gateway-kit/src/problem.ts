import { type ServerResponse, STATUS_CODES } from 'node:http'
import { setTold } from './context.js'
import { endResponse, leavesMuchUnread } from './ending.js'
import { closeAfter, cut, isHttp2 } from './http2.js'

/** The members of an RFC 9457 problem; more may be added. */
export interface ProblemDetails {
  /** A URI that identifies the kind of problem. Default `about:blank`: the status says it all. */
  readonly type?: string | undefined
  /** Default: the reason phrase of the status. */
  readonly title?: string | undefined
  /** What happened this time, fit for the eyes of whoever sent the request. */
  readonly detail?: string | undefined
  readonly instance?: string | undefined
  readonly [member: string]: unknown
}

/**
 * Answers with an RFC 9457 `application/problem+json` document.
 *
 * The member `requestId` is added when the response carries `x-request-id`. When much of the request's
 * body is still to come, the connection is closed after the answer.
 * A response whose headers have left cannot become a problem any more: it is cut instead.
 *
 * @example
 * problem(res, 404, { detail: 'There is no such order.' })
 */
export function problem(res: ServerResponse, status: number, fields: ProblemDetails = {}): void {
  if (!Number.isInteger(status) || status < 400 || status > 599) {
    throw new TypeError(`problem: status must be between 400 and 599, got ${String(status)}`)
  }
  if (res.headersSent) {
    if (!res.writableEnded) cut(res)
    return
  }

  setTold(res)
  const body = Buffer.from(JSON.stringify(problemDocument(res, status, fields)))

  // Who did not send in time is not waited for again (RFC 9110, 15.5.9).
  if (status === 408 || leavesMuchUnread(res.req)) closeAfter(res)
  // A head that was not valid may have left its own.
  if (!isHttp2(res.req)) res.statusMessage = ''
  // What a middleware in front had planned for the real answer describes another body.
  for (const name of ['content-encoding', 'etag', 'last-modified', 'accept-ranges', 'transfer-encoding']) {
    res.removeHeader(name)
  }
  res.statusCode = status
  res.setHeader('content-type', 'application/problem+json')
  res.setHeader('cache-control', 'no-store')
  res.setHeader('content-length', body.byteLength)
  endResponse(res, body)
}

/** What a problem says, also where it is not the answer itself. */
export function problemDocument(res: ServerResponse, status: number, fields: ProblemDetails): ProblemDetails {
  const requestId = res.getHeader('x-request-id')

  return {
    type: 'about:blank',
    title: STATUS_CODES[status] ?? 'Error',
    status,
    ...fields,
    ...(typeof requestId === 'string' && { requestId }),
  }
}
