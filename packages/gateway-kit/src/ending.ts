import type { IncomingMessage, ServerResponse } from 'node:http'
import { constants, type ServerHttp2Stream } from 'node:http2'
import { contextOf } from './context.js'
import { isHttp2 } from './http2.js'

/** How long a client may go on sending after it has its answer, in milliseconds. */
const LINGER = 1_000

/** An unread rest up to this size is read and thrown away, which is cheaper than a new connection. */
const SMALL = 65_536

/** Whether the framing announces a body; the method says nothing about it. */
export function hasBody(req: IncomingMessage): boolean {
  const { headers } = req
  const length = headers['content-length']
  if (length !== undefined) return Number(length) !== 0
  if (isHttp2(req)) return !req.stream.endAfterHeaders

  return headers['transfer-encoding'] !== undefined
}

/** Whether so much of the request is still to come that the connection is better closed after the answer. */
export function leavesMuchUnread(req: IncomingMessage): boolean {
  // Over HTTP/2 only the stream is given up.
  if (req.complete || isHttp2(req) || !hasBody(req)) return false

  return req.headers['transfer-encoding'] !== undefined || Number(req.headers['content-length']) > SMALL
}

/**
 * Ends a response, whether or not the request has been read. Closing a socket on a client that still sends makes the
 * kernel throw away the answer it has not read yet (RFC 9112, 9.6), so the rest is read for a while, unseen.
 */
export function endResponse(res: ServerResponse, chunk?: Buffer): void {
  const { req } = res
  if (!hasBody(req)) {
    endWith(res, chunk)
    return
  }
  if (!leavesMuchUnread(req)) {
    endWith(res, chunk)
    req.resume()
    if (isHttp2(req)) giveUp(req.stream)
    return
  }

  if (chunk !== undefined) res.write(chunk)
  contextOf(req).answered = true
  const timer = setTimeout(end, LINGER)
  req.once('end', end).once('close', end).resume()

  function end(): void {
    clearTimeout(timer)
    req.off('end', end).off('close', end)
    res.end()
  }
}

/** A stream stays open for as long as its client goes on, which may be for ever (RFC 9113, 8.1). */
function giveUp(stream: ServerHttp2Stream): void {
  if (stream.destroyed || stream.readableEnded) return

  const timer = setTimeout(() => stream.close(constants.NGHTTP2_NO_ERROR), LINGER)
  stream.once('close', () => clearTimeout(timer))
}

/** Up to this size the bytes of a body are sent as a string. */
const ONE_WRITE = 8_192

/**
 * A head and a string become one piece, where a head and a buffer are two that have to be gathered. Node would add an
 * empty third one at the end, for as long as the socket is corked.
 */
function endWith(res: ServerResponse, chunk: Buffer | undefined): void {
  if (chunk === undefined) res.end()
  else if (chunk.byteLength <= ONE_WRITE) sendWhole(res, chunk)
  else res.end(chunk)
}

function sendWhole(res: ServerResponse, chunk: Buffer): void {
  res.write(chunk.toString('latin1'), 'latin1')
  if (!isHttp2(res.req)) res.socket?.uncork()
  res.end()
}
