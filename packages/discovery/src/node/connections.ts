import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

/** The connections of a server, and what is being answered on them. */
export class Connections {
  readonly #server: Server
  /**
   * Everything that keeps the server from closing, also handshakes and what was upgraded, with the bytes that had come in
   * when the last request on it was over: more than that are another request, which may not be complete yet.
   */
  readonly #sockets = new Map<Socket, number>()
  readonly #answering = new Set<ServerResponse>()
  #closing = false
  #closingIdle = false

  constructor(server: Server) {
    this.#server = server
    server.on('connection', (socket: Socket) => this.#track(socket))
    server.on('secureConnection', (socket: Socket) => this.#track(socket))
    // Before the application's listener, which may answer at once.
    server.prependListener('request', (request: IncomingMessage, response: ServerResponse) => {
      const { socket } = request
      this.#track(socket)
      this.#answering.add(response)
      if (this.#closing) announceEnd(response)
      response.once('close', () => {
        this.#answering.delete(response)
        if (this.#sockets.has(socket)) this.#sockets.set(socket, socket.bytesRead)
        if (this.#closingIdle) this.closeIdle()
      })
    })
  }

  /** Each response from now on is the last one on its connection, and says so: the client sends nothing more on it. */
  closeAfterNextResponse(): void {
    this.#closing = true
    for (const response of this.#answering) announceEnd(response)
  }

  /** Takes no new connections and leaves those that there are alone. The promise is kept when all are gone. */
  stopListening(): Promise<void> {
    const server = this.#server
    if (!server.listening && this.#sockets.size === 0) return Promise.resolve()

    const closed = new Promise<void>((resolve) => server.once('close', resolve))
    if (!server.listening) return closed

    // close() would cut idle connections at once, on which a request may be on its way.
    server.closeIdleConnections = () => {}
    try {
      server.close()
    } finally {
      Reflect.deleteProperty(server, 'closeIdleConnections')
    }
    return closed
  }

  /**
   * Closes connections without a request, now and whenever one becomes so. Not by the server's own `closeIdleConnections`,
   * which cuts a response that is not flushed yet, and spares a connection that never sent anything.
   */
  closeIdle(): void {
    this.#closingIdle = true
    const busy = this.#busy()
    for (const [socket, seen] of this.#sockets) {
      if (!busy.has(socket) && socket.bytesRead === seen) socket.end(() => socket.destroy())
    }
  }

  /** Cuts what is left. Returns how many connections had a request unanswered. */
  closeAll(): number {
    const cut = this.#busy().size
    this.#server.closeAllConnections()
    for (const socket of this.#sockets.keys()) socket.destroy()
    return cut
  }

  #busy(): Set<Socket> {
    return new Set([...this.#answering].map(({ req }) => req.socket))
  }

  #track(socket: Socket): void {
    if (this.#sockets.has(socket)) return

    this.#sockets.set(socket, socket.bytesRead)
    socket.once('close', () => this.#sockets.delete(socket))
  }
}

function announceEnd(response: ServerResponse): void {
  if (!response.headersSent) response.setHeader('Connection', 'close')
}
