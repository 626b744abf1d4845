import { type ServerResponse, STATUS_CODES } from 'node:http'

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
 * The member `requestId` is added when the response carries `x-request-id`. When the request's body has not arrived
 * in full, the connection is closed after the answer, so that the rest of it cannot be taken for the next request.
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
    if (!res.writableEnded) res.destroy()
    return
  }

  const requestId = res.getHeader('x-request-id')
  const document = {
    type: 'about:blank',
    title: STATUS_CODES[status] ?? 'Error',
    status,
    ...fields,
    ...(typeof requestId === 'string' && { requestId }),
  }
  const body = Buffer.from(JSON.stringify(document))

  if (!res.req.complete && hasBody(res.req.headers)) res.setHeader('connection', 'close')
  // What a middleware in front had planned for the real answer describes another body.
  for (const name of ['content-encoding', 'etag', 'last-modified', 'accept-ranges', 'transfer-encoding']) {
    res.removeHeader(name)
  }
  res.statusCode = status
  res.setHeader('content-type', 'application/problem+json')
  res.setHeader('cache-control', 'no-store')
  res.setHeader('content-length', body.byteLength)
  res.end(body)
}

/** Whether the framing announces a body; the method says nothing about it. */
export function hasBody(headers: Readonly<Record<string, string | readonly string[] | undefined>>): boolean {
  const length = headers['content-length']

  return headers['transfer-encoding'] !== undefined || (length !== undefined && Number(length) !== 0)
}
