import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createDiscovery, fixed } from '@msx/discovery'
import { createInstruments, createLog } from '@shop/platform'
import { expect, onTestFinished, test } from 'vitest'
import { createApiGateway } from '../gateway.js'

const token = 'operations-of-this-test'

/** A gateway with one server behind it, which notes what it is asked for; `ask` shows the token. */
async function open() {
  const asked: string[] = []
  const behind = createServer((req, res) => {
    req.resume().once('end', () => {
      asked.push(`${req.method} ${req.url}`)
      res.writeHead(200, { 'content-type': 'application/json' }).end('{}')
    })
  }).listen(0, '127.0.0.1')
  await once(behind, 'listening')
  const place = [{ host: '127.0.0.1', port: (behind.address() as AddressInfo).port }]

  const discovery = createDiscovery({ source: fixed({ 'order-service': place, 'product-service': place }) })
  const gateway = createApiGateway({
    discovery,
    log: createLog('api-gateway', 'silent'),
    instruments: createInstruments('api-gateway', { token }),
    rateLimit: 1_000,
    signInLimit: 10,
  })
  const { url } = await gateway.start()
  onTestFinished(async () => {
    await gateway.stop()
    await discovery.close()
    behind.close()
    behind.closeAllConnections()
  })

  const ask = (path: string, init: RequestInit = {}) =>
    fetch(url + path, {
      ...init,
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    })
  return { ask, asked }
}

test.each([
  ['GET', '/ops/sagas/..%2Fstatus', '/internal/operations/sagas/..%2Fstatus'],
  ['GET', '/ops/sagas/a%3Fb%23c', '/internal/operations/sagas/a%3Fb%23c'],
  ['POST', '/ops/sagas/..%2Fkill%3F/cancel', '/internal/operations/sagas/..%2Fkill%3F/cancel'],
  ['POST', '/ops/sagas/..%2Fkill%3F/resume', '/internal/operations/sagas/..%2Fkill%3F/resume'],
  ['PUT', '/ops/deliveries/..%2Ffaults', '/internal/operations/deliveries/..%2Ffaults'],
])('an id of %s %s names a thing, and never another path', async (method, path, expected) => {
  const { ask, asked } = await open()

  await ask(path, { method, ...(method !== 'GET' && { body: '{}' }) })

  expect(asked).toEqual([`${method} ${expected}`])
})

test.each([
  ['PUT', '/ops/faults'],
  ['PUT', '/ops/deliveries/1'],
  ['POST', '/ops/sagas/1/cancel'],
])('%s %s takes no more than a service would', async (method, path) => {
  const { ask, asked } = await open()

  const response = await ask(path, { method, body: 'a'.repeat(100 * 1024 + 1) })

  expect(response.status).toBe(413)
  expect(await response.json()).toMatchObject({ status: 413, detail: 'a body may have at most 102400 bytes' })
  expect(asked).toEqual([])
})
