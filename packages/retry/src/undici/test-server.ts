import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo, Socket, createServer as tcpServer } from 'node:net'
import { Agent, type Dispatcher, request } from 'undici'
import { afterEach } from 'vitest'

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

export function cleanUp(cleanup: () => unknown): void {
  cleanups.push(cleanup)
}

export async function listen(server: Server | ReturnType<typeof tcpServer>): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

export interface TestServer {
  readonly origin: string
  readonly seen: { requests: number; connections: number; open: number }
  readonly server: Server
}

/** A server on a real socket, which counts its requests and its connections. */
export async function serve(listener: RequestListener): Promise<TestServer> {
  const sockets = new Set<Socket>()
  const seen = { requests: 0, connections: 0, open: 0 }
  const server = createServer((incoming, response) => {
    seen.requests++
    listener(incoming, response)
  })
  server.on('connection', (socket) => {
    seen.connections++
    seen.open++
    sockets.add(socket)
    socket.on('close', () => seen.open--)
  })
  const origin = await listen(server)
  cleanUp(() => {
    server.closeAllConnections()
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return { origin, seen, server }
}

export interface TestAgent {
  readonly agent: Dispatcher
  readonly plain: Agent
  get(url: string, more?: object): Promise<{ statusCode: number; text: string }>
}

/** An agent of its own with these interceptors, the innermost first. */
export function agentWith(...interceptors: Dispatcher.DispatcherComposeInterceptor[]): TestAgent {
  const plain = new Agent()
  cleanUp(() => plain.destroy())
  const agent = plain.compose(...interceptors)

  const get = async (url: string, more: object = {}) => {
    const { statusCode, body } = await request(url, { dispatcher: agent, ...more })
    return { statusCode, text: await body.text() }
  }
  return { agent, plain, get }
}

export const errorOf = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => undefined,
    (error: unknown) => error,
  )
