import { once } from 'node:events'
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { onTestFinished } from 'vitest'
import { roundRobin } from '../balancers/round-robin.js'
import { createDiscovery, type Discovery, type DiscoveryOptions } from '../discovery.js'
import { fixed } from '../sources/fixed.js'
import { cert, key } from './test-certificate.js'

/** A real server on a free port of 127.0.0.1, closed when the test ends. */
export interface TestServer {
  readonly url: string
  readonly server: Server
  /** `METHOD path` of each request that arrived. */
  readonly requests: string[]
  /** Connections that were ever opened, and those that are open. */
  connections: number
  open: number
  /** Stops listening and cuts every connection. */
  kill(): Promise<void>
}

type Handler = (req: IncomingMessage, res: ServerResponse) => void | Promise<void>

const ok: Handler = (_, res) => void res.end('ok')

export async function startServer(handler: Handler = ok): Promise<TestServer> {
  return start('http', (listener) => createServer(listener), handler)
}

export async function startTlsServer(handler: Handler = ok): Promise<TestServer> {
  return start('https', (listener) => createTlsServer({ key, cert }, listener), handler)
}

async function start(scheme: string, create: (listener: RequestListener) => Server, handler: Handler) {
  const requests: string[] = []
  const server = create((req, res) => {
    requests.push(`${req.method} ${req.url}`)
    void handler(req, res)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')

  const kill = async () => {
    if (!server.listening) return

    server.close()
    server.closeAllConnections()
    await once(server, 'close')
  }
  onTestFinished(kill)

  const url = `${scheme}://127.0.0.1:${(server.address() as AddressInfo).port}`
  const started: TestServer = { url, server, requests, connections: 0, open: 0, kill }
  server.on('connection', (socket) => {
    started.connections++
    started.open++
    socket.on('close', () => started.open--)
  })
  return started
}

/** A discovery that knows `user-service` at these servers, in turn; closed when the test ends. */
export function discover(servers: readonly { url: string }[], options: Partial<DiscoveryOptions> = {}): Discovery {
  const source = fixed({ 'user-service': servers.map(({ url }) => url) })
  const discovery = createDiscovery({ source, balancer: roundRobin(), ...options })
  onTestFinished(() => discovery.close())
  return discovery
}

/** How the leases of `user-service` ended. `inflight` is 0 after every test that has nothing left running. */
export function leases(discovery: Discovery): { inflight: number; picked: number; failed: number; cancelled: number } {
  const total = { inflight: 0, picked: 0, failed: 0, cancelled: 0 }
  for (const endpoint of discovery.service('user-service').metrics.endpoints) {
    total.inflight += endpoint.inflight
    total.picked += endpoint.picked
    total.failed += endpoint.failed
    total.cancelled += endpoint.cancelled
  }
  return total
}

/** A promise and the function that fulfils it. */
export function signalled(): { promise: Promise<void>; fire: () => void } {
  let fire!: () => void
  const promise = new Promise<void>((resolve) => {
    fire = resolve
  })
  return { promise, fire }
}
