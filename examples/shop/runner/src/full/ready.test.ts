import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { untilReady } from './ready.js'

let server: Server | undefined

afterEach(() => server?.close())

async function answering(...statuses: number[]): Promise<{ http: string; asked: string[] }> {
  const asked: string[] = []
  server = createServer((req, res) => {
    asked.push(req.url ?? '')
    res.writeHead(statuses.length > 1 ? (statuses.shift() as number) : (statuses[0] as number)).end()
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return { http: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked }
}

test('asks /health/ready until it answers 200', async () => {
  const { http, asked } = await answering(503, 503, 200)

  await untilReady(() => http, new AbortController().signal)

  expect(asked).toEqual(['/health/ready', '/health/ready', '/health/ready'])
})

test('waits for an address, and follows it to another one', async () => {
  const { http } = await answering(200)
  const addresses = [undefined, 'http://127.0.0.1:1', http]

  await expect(untilReady(() => addresses.shift(), new AbortController().signal)).resolves.toBeUndefined()
})

test('gives up with the reason of its signal', async () => {
  const { http } = await answering(503)
  const giveUp = new AbortController()
  const reason = new Error('no longer wanted')

  const ready = untilReady(() => http, giveUp.signal)
  giveUp.abort(reason)

  await expect(ready).rejects.toBe(reason)
})
