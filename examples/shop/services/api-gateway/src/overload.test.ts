import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createDiscovery, fixed } from '@msx/discovery'
import { createInstruments, createLog } from '@shop/platform'
import { operationsToken, rawAnswer } from '@shop/platform/testing'
import { beforeEach, expect, onTestFinished, test } from 'vitest'
import { createApiGateway } from './gateway.js'

let url: string
/** The requests of customers that have come through: they wait for `release`. */
let held: ServerResponse[]

beforeEach(async () => {
  held = []
  const upstream = createServer((req, res) => {
    if (req.url?.startsWith('/internal/operations/') === true) res.end('{"items":[]}')
    else held.push(res)
  })
  upstream.listen(0, '127.0.0.1')
  await once(upstream, 'listening')
  onTestFinished(() => void upstream.close())
  const address = [`http://127.0.0.1:${(upstream.address() as AddressInfo).port}`]
  const services = { 'user-service': address, 'product-service': address, 'order-service': address }
  const discovery = createDiscovery({ source: fixed(services) })
  onTestFinished(() => discovery.close())
  const gateway = createApiGateway({
    discovery,
    instruments: createInstruments('api-gateway', { token: operationsToken }),
    log: createLog('api-gateway', 'silent'),
    rateLimit: 1_000,
    signInLimit: 10,
    limits: { inFlight: 4 },
  })
  url = (await gateway.start()).url
  onTestFinished(() => gateway.stop({ abruptly: true }))
})

function release(): void {
  for (const response of held.splice(0)) response.end()
}

/** So many at once, which are on their way until they are released. */
async function read(count: number): Promise<{ readonly statuses: Promise<number[]> }> {
  const come = held.length + count
  const answers = Array.from({ length: count }, async () => (await fetch(`${url}/api/products`)).status)
  await expect.poll(() => held.length).toBe(come)
  return { statuses: Promise.all(answers) }
}

test('beyond what it takes at once, it says when to come again; orders at half of it, before it looks who sends them', async () => {
  const order = () => fetch(`${url}/api/orders`, { method: 'POST' })
  const first = await read(1)
  expect((await order()).status).toBe(401)

  const second = await read(1)
  const refused = await order()
  expect(refused.status).toBe(503)
  expect(refused.headers.get('retry-after')).toBe('1')
  expect(await refused.json()).toMatchObject({ code: 'MSX_GATEWAY_OVERLOADED' })

  const others = await read(2)
  expect((await fetch(`${url}/api/products`)).status).toBe(503)

  release()
  const statuses = await Promise.all([first, second, others].map((reads) => reads.statuses))
  expect(statuses.flat()).toEqual([200, 200, 200, 200])
  expect((await order()).status).toBe(401)
})

test('health and operations are answered however much there is to do', async () => {
  const reads = await read(4)

  const headers = { authorization: `Bearer ${operationsToken}` }
  const paths = ['/health/live', '/health/ready', '/metrics', '/ops/traces']
  const answers = await Promise.all(paths.map(async (path) => [path, (await fetch(url + path, { headers })).status]))
  expect(answers).toEqual(paths.map((path) => [path, 200]))

  release()
  await reads.statuses
})

test('what is no request is answered with a problem', async () => {
  const answer = await rawAnswer(url, 'hello\r\n\r\n')

  expect(answer).toMatch(/^HTTP\/1\.1 400 Bad Request\r\n/)
  expect(answer).toContain('application/problem+json')
})
