import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http'
import { type AddressInfo, connect, createServer as createTcpServer, type Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import { onTestFinished } from 'vitest'
import type { Middleware } from '../middleware.js'
import { problem } from '../problem.js'

/** An upstream on a real socket, closed when the test is over. */
export async function startUpstream(listener: RequestListener): Promise<{ url: string; port: number; server: Server }> {
  const server = createServer(listener)
  await listening(server)
  onTestFinished(() => closeServer(server))

  const { port } = server.address() as AddressInfo
  return { url: `http://127.0.0.1:${port}`, port, server }
}

/** A server around one middleware. */
export function serve(middleware: Middleware): Promise<{ url: string; port: number; server: Server }> {
  return startUpstream((req, res) => middleware(req, res, (error) => problem(res, error === undefined ? 404 : 500)))
}

/** An upstream that speaks no HTTP of its own: it does with the socket what the test says. */
export async function startTcp(onSocket: (socket: Socket) => void): Promise<string> {
  const sockets = new Set<Socket>()
  const server = createTcpServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    onSocket(socket)
  })
  await listening(server)
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })

  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

function listening(server: { listen(port: number, host: string, done: () => void): unknown }): Promise<void> {
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', resolve)
  })
}

function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve())
    server.closeAllConnections()
  })
}

/**
 * A client that says what the test says, gone with it. It may be reset at any time, also between two steps of a test: what
 * comes of that is seen by what it read, and by its end.
 */
export function dial(port: number, bytes = ''): Socket {
  const socket = connect(port, '127.0.0.1')
  socket.on('error', () => {})
  onTestFinished(() => void socket.destroy())
  if (bytes !== '') socket.write(bytes)
  return socket
}

/** Sends bytes as they are and resolves with all that came back before the other side closed. */
export function raw(port: number, request: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => socket.write(request))
    let answer = ''
    socket.setEncoding('latin1')
    socket.on('data', (chunk: string) => {
      answer += chunk
    })
    socket.on('error', () => {})
    socket.on('close', () => resolve(answer))
  })
}

/** Answers with what it was asked, unless whoever asks leaves in the middle of it. */
export async function echo(req: IncomingMessage, res: ServerResponse): Promise<void> {
  const body = await text(req).catch(() => undefined)
  if (body === undefined) return

  res.setHeader('content-type', 'application/json')
  res.end(
    JSON.stringify({
      method: req.method,
      url: req.url,
      headers: req.headers,
      rawHeaders: req.rawHeaders,
      body,
    }),
  )
}

export interface Echoed {
  readonly method: string
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  readonly rawHeaders: readonly string[]
  readonly body: string
}

/** A time that moves only when it is told to. */
export function manualClock(): {
  now(): number
  after(ms: number, run: () => void): () => void
  advance(ms: number): void
  readonly waiting: number
} {
  let time = 1_000
  const timers = new Set<{ at: number; run: () => void }>()

  return {
    now: () => time,
    after(ms, run) {
      const timer = { at: time + ms, run }
      timers.add(timer)
      return () => timers.delete(timer)
    },
    advance(ms) {
      time += ms
      for (const timer of [...timers].sort((a, b) => a.at - b.at)) {
        if (timer.at <= time && timers.delete(timer)) timer.run()
      }
    },
    get waiting() {
      return timers.size
    },
  }
}

/** A promise and the function that fulfils it. */
export function signalled<T = void>(): { readonly promise: Promise<T>; readonly fire: (value: T) => void } {
  let fire!: (value: T) => void
  const promise = new Promise<T>((resolve) => {
    fire = resolve
  })

  return { promise, fire }
}
