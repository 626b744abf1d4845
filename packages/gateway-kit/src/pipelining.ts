import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { type Connection, findConnection } from './connection.js'
import { isHttp2 } from './http2.js'
import type { Middleware } from './middleware.js'

/** How many requests of one connection may wait before no more are read from it. */
const MOST_WAITING = 100

/** Whether Node has noted a response that the connection is busy with. */
function isBusy(socket: Duplex): socket is Duplex & { readonly _httpMessage: ServerResponse } {
  return Boolean((socket as { readonly _httpMessage?: ServerResponse | null })._httpMessage)
}

/**
 * A client of HTTP/1.1 may send requests before it has its answers, and Node hands over all that it finds: thousands from
 * one piece of what was read, each of which would have a connection to the upstream of its own. So they are served one
 * after the other, as they are answered (RFC 9112, 9.3.2); who sends too many is not read from for a while.
 */
export function inTurn(handle: Middleware): Middleware {
  return function takeTurn(req, res, next) {
    // A response that stands for another one has the socket of that one.
    if (isHttp2(req) || res.socket !== null || !isBusy(req.socket)) {
      handle(req, res, next)
      return
    }

    const { socket } = req
    // Not by its context, which would count from now on: it begins with its turn.
    const connection = findConnection(req)
    connection.waiting += 1
    // At the end of a request Node itself reads on.
    if (connection.waiting >= MOST_WAITING) process.nextTick(hold, socket, connection)
    // Never, where the connection ends first.
    res.once('socket', () => {
      connection.waiting -= 1
      if (connection.waiting === 0 && socket.isPaused()) socket.resume()
      handle(req, res, next)
    })
  }
}

function hold(socket: Socket, connection: Connection): void {
  if (connection.waiting >= MOST_WAITING) socket.pause()
}

/** The same for what takes the connection itself: runs once all that came before has its answer, if it is still open then. */
export function afterAnswers(socket: Duplex, run: () => void): void {
  if (socket.destroyed) return

  if (!isBusy(socket)) run()
  else {
    socket._httpMessage.once('close', () => {
      // Between two requests Node gives it a while; this is none.
      ;(socket as unknown as Socket).setTimeout(0)
      afterAnswers(socket, run)
    })
  }
}
