import { type Server, type ServerResponse, STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'

/** What Node's parser and its clock complain of, by their codes; everything else of HTTP is a 400. */
const statuses: Readonly<Record<string, number>> = {
  HPE_HEADER_OVERFLOW: 431,
  HPE_CHUNK_EXTENSIONS_OVERFLOW: 413,
  ERR_HTTP_REQUEST_TIMEOUT: 408,
}

const ofHttp = /^(HPE|ERR_HTTP)_/

/**
 * Answers bytes that are no request with a problem like any other, and hangs up. Node by itself answers with a status line,
 * also in the place of an earlier request that is still being answered, and a CONNECT with nothing at all.
 */
export function refuseMalformed(server: Server): void {
  const answering = new WeakMap<Duplex, Set<ServerResponse>>()

  server.on('request', ({ socket }, response) => {
    const under = answering.get(socket) ?? new Set()
    answering.set(socket, under.add(response))
    response.once('close', () => under.delete(response))
  })
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
    const { code = '' } = error
    const [response, ...more] = answering.get(socket) ?? []
    const isItsOwn = response === undefined || (!response.headersSent && !response.req.complete)
    if (ofHttp.test(code) && socket.writable && isItsOwn && more.length === 0) {
      hangUp(socket, statuses[code] ?? 400, 'this is no request as HTTP/1.1 has them')
    } else if (response?.writableEnded === true) {
      // The whole answer to what came before may leave.
      ;(socket as Socket).destroySoon()
    } else {
      socket.destroy()
    }
  })
  server.on('connect', (_request, socket) => {
    // Node has let go of it, and an error that nobody hears would end the process.
    socket.on('error', () => socket.destroy())
    hangUp(socket, 405, 'CONNECT is not spoken here', ['Allow: GET, HEAD'])
  })
}

function hangUp(socket: Duplex, status: number, detail: string, headers: readonly string[] = []): void {
  const title = STATUS_CODES[status]
  const body = JSON.stringify({ type: 'about:blank', title, status, detail })
  const head = [
    `HTTP/1.1 ${status} ${title}`,
    'Connection: close',
    'Content-Type: application/problem+json',
    `Content-Length: ${Buffer.byteLength(body)}`,
    ...headers,
  ]
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`, () => socket.destroy())
}
