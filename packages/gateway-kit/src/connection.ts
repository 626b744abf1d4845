import type { IncomingMessage } from 'node:http'
import { isHttp2 } from './http2.js'

/** What `Forwarded` says of the connection, as it was written last. */
export interface Hop {
  readonly peer: string
  readonly host: string | undefined
  readonly element: string
}

/** A header with a token, and the token. */
export interface Bearer {
  readonly header: string
  readonly token: string
}

/** A token, and what one of the verifiers knows about it. */
export interface Known {
  readonly token: string
  readonly verified: unknown
  readonly by: unknown
}

/** What stays the same for all requests of a connection, or mostly comes again with the next one. */
export class Connection {
  /** The address at the other end. */
  peer: string | undefined = undefined
  hop: Hop | undefined = undefined
  bearer: Bearer | undefined = undefined
  known: Known | undefined = undefined
  /** How many of its requests wait for the answers to those before them. */
  waiting: number = 0
}

/**
 * By what the requests have in common. It is not kept on the socket itself: each property that is set there makes another
 * shape of it, by the order in which requests happen to need them, and a part of Node's code for sockets that has met five
 * shapes is not optimised for any.
 */
const connections = new WeakMap<object, Connection>()

/** Makes no context for the request; `connectionOf`, which does, keeps there what it found. */
export function findConnection(req: IncomingMessage): Connection {
  // Over HTTP/2 each stream has a socket of its own, which only stands for that of the session.
  const carrier: object | null | undefined = isHttp2(req) ? (req.stream.session ?? req.stream) : req.socket
  // A request of somebody's own making may have come over no connection at all.
  if (!carrier) return new Connection()

  let connection = connections.get(carrier)
  if (connection === undefined) {
    connection = new Connection()
    connections.set(carrier, connection)
  }
  return connection
}
