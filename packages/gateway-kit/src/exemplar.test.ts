import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, onTestFinished, test } from 'vitest'
import { createGateway } from './gateway.js'

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

test('of all responses the last complete one is kept, until the gateway closes', async () => {
  const upstream = createServer((_req, res) => res.end('hello')).listen(0, '127.0.0.1')
  await once(upstream, 'listening')
  onTestFinished(() => void upstream.close())
  const gateway = createGateway({
    routes: [{ path: '/**', upstream: `http://127.0.0.1:${(upstream.address() as AddressInfo).port}`, auth: false }],
  })
  onTestFinished(() => gateway.close({ timeout: 0 }))
  const responses: WeakRef<ServerResponse>[] = []
  const server = createServer((req: IncomingMessage, res: ServerResponse) => {
    responses.push(new WeakRef(res))
    gateway.handler(req, res, () => {})
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => void server.close())

  for (let request = 0; request < 4; request += 1) {
    const { port } = server.address() as AddressInfo
    const response = await fetch(`http://127.0.0.1:${port}/`, { headers: { connection: 'close' } })
    expect(await response.text()).toBe('hello')
  }

  const alive = async (): Promise<boolean[]> => {
    await nextTurn()
    collectGarbage()
    return responses.map((response) => response.deref() !== undefined)
  }
  await expect.poll(alive).toEqual([false, false, false, true])

  await gateway.close()

  await expect.poll(alive).toEqual([false, false, false, false])
})
