import type { IncomingMessage, ServerResponse } from 'node:http'

/** How long a client may go on sending after it has its answer, in milliseconds. */
const LINGER = 1_000

/** An unread rest up to this size is read and thrown away, which is cheaper than a new connection. */
const SMALL = 65_536

/** Whether the framing announces a body; the method says nothing about it. */
export function hasBody(headers: IncomingMessage['headers']): boolean {
  const length = headers['content-length']

  return headers['transfer-encoding'] !== undefined || (length !== undefined && Number(length) !== 0)
}

/** Whether so much of the request is still to come that the connection is better closed after the answer. */
export function leavesMuchUnread(req: IncomingMessage): boolean {
  if (req.complete || !hasBody(req.headers)) return false

  return req.headers['transfer-encoding'] !== undefined || Number(req.headers['content-length']) > SMALL
}

/**
 * Ends a response, whether or not the request has been read. Closing a socket on a client that still sends makes the
 * kernel throw away the answer it has not read yet (RFC 9112, 9.6), so the rest is read for a while, unseen.
 */
export function endResponse(res: ServerResponse, chunk?: Buffer): void {
  const { req } = res
  if (!leavesMuchUnread(req)) {
    res.end(chunk)
    req.resume()
    return
  }

  if (chunk !== undefined) res.write(chunk)
  const timer = setTimeout(end, LINGER)
  req.once('end', end).once('close', end).resume()

  function end(): void {
    clearTimeout(timer)
    req.off('end', end).off('close', end)
    res.end()
  }
}
