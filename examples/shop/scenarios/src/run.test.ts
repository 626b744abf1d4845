import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, onTestFinished, test } from 'vitest'
import { runScenario } from './run.js'
import type { Scenario } from './scenario.js'

/** What a shop answers to a visitor: slow to be looked at, and gone when an order comes. */
const answers: Readonly<Record<string, readonly [status: number, body?: unknown]>> = {
  'POST /api/users': [201, { id: 'ada' }],
  'POST /api/sessions': [200, { token: 'token' }],
  'GET /api/products/espresso-cup': [200, { stock: 1 }],
  'GET /ops/dead-letters': [200, { items: [] }],
  'GET /ops/topology': [200, { nodes: [], edges: [] }],
  'DELETE /ops/faults': [204],
}

test('rejects when the shop goes away under the load, which nobody waits for yet', async () => {
  const server = createServer(async (req, res) => {
    const [status, body] = answers[`${req.method} ${req.url}`] ?? []
    if (status === undefined) return void req.socket.destroy()
    if (req.url === '/ops/topology') await sleep(50)
    res.writeHead(status).end(body === undefined ? undefined : JSON.stringify(body))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => void server.close())
  const unhandled: unknown[] = []
  const hear = (reason: unknown) => unhandled.push(reason)
  process.on('unhandledRejection', hear)
  onTestFinished(() => void process.off('unhandledRejection', hear))
  const scenario: Scenario = {
    name: 'gone',
    teaches: 'nothing',
    faults: [],
    load: { orders: 1, paymentMethod: 'card-ok' },
    meanwhile: [],
    afterwards: [],
  }

  const running = runScenario(scenario, {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    token: 'token',
  })

  await expect(running).rejects.toThrow('fetch failed')
  expect(unhandled).toEqual([])
})
