import { type IncomingMessage, STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { contextOf } from './context.js'

/** What Node's parser refuses before there is a request, by the code of its error. Everything else is a 400. */
const STATUS: Readonly<Record<string, number>> = {
  HPE_HEADER_OVERFLOW: 431,
  HPE_CHUNK_EXTENSIONS_OVERFLOW: 413,
  ERR_HTTP_REQUEST_TIMEOUT: 408,
}

/** What Node's parser or its clock complain of; everything else is of the connection, or of TLS. */
const isOfHttp = /^(?:HPE|ERR_HTTP)_/

const DETAIL: Readonly<Record<number, string>> = {
  400: 'This is not a request as HTTP/1.1 has them.',
  408: 'The request did not arrive in time.',
  413: 'The chunk extensions are too large.',
  431: 'The header fields are too large.',
}

/**
 * Answers bytes that never became a request with the same kind of document as everything else, and hangs up. A client
 * that is gone, or whose handshake of TLS failed, gets nothing; nor does one that has had the head of an answer: more
 * bytes would look like its body.
 */
export function answerClientError(error: NodeJS.ErrnoException, socket: Duplex): void {
  const answer = (
    socket as { readonly _httpMessage?: { readonly headersSent?: boolean; readonly req?: IncomingMessage } }
  )._httpMessage
  if (!isOfHttp.test(error.code ?? '') || !socket.writable || answer?.headersSent === true) {
    // An answer that is whole may leave; a part of one must not be followed by an orderly end, which may complete it.
    if (answer?.req !== undefined && contextOf(answer.req).answered) (socket as Socket).destroySoon()
    else socket.destroy()
    return
  }

  const status = STATUS[error.code ?? ''] ?? 400
  const title = STATUS_CODES[status]!
  const body = JSON.stringify({ type: 'about:blank', title, status, detail: DETAIL[status] })
  const head = [
    `HTTP/1.1 ${status} ${title}`,
    'Connection: close',
    'Content-Type: application/problem+json',
    'Cache-Control: no-store',
    `Content-Length: ${Buffer.byteLength(body)}`,
  ]
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`, () => socket.destroy())
}
