import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { expectProblem, newCustomer, request } from './customer.js'
import { freshFolder, refusedStart, startShop } from './shop-process.js'

let folder: Awaited<ReturnType<typeof freshFolder>>

beforeEach(async () => {
  folder = await freshFolder()
})

afterEach(() => folder.remove())

test('Ctrl-C ends the shop and frees its port; what was bought is there at the next start', async () => {
  const first = await startShop(folder.path)
  const ada = await newCustomer(first.url)
  await letsOneBrowserIn(first.output())
  expect(await first.interrupt()).toBe(0)
  await expect(fetch(first.url)).rejects.toThrow()

  const second = await startShop(folder.path)
  const again = await fetch(`${second.url}/api/sessions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ email: ada.email, password: 'correct horse battery' }),
  })

  expect(again.status).toBe(200)
  expect(await second.interrupt()).toBe(0)
})

test('a second shop on the same data is refused, naming the process and the variable', async () => {
  const first = await startShop(folder.path)

  const { code, output } = await refusedStart(folder.path)

  expect(code).toBe(1)
  expect(output).toContain(`in use by process ${first.pid}`)
  expect(output).toContain('DATA_DIR')
  await first.interrupt()
})

test('a busy port is an error that names the port and the variable', async () => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo

  const { code, output } = await refusedStart(folder.path, { PORT: String(port) })

  expect(code).toBe(1)
  expect(output).toContain(`port ${port} is taken`)
  server.close()
})

test('a data folder that cannot be written is an error that names it and the variable', async () => {
  const file = join(folder.path, 'a-file')
  await writeFile(file, '')

  const { code, output } = await refusedStart(join(file, 'data'))

  expect(code).toBe(1)
  expect(output).toContain(`the data folder ${join(file, 'data')} cannot be written`)
  expect(output).toContain('DATA_DIR')
})

test('embedded is embedded: addresses of servers in the environment are not used', async () => {
  const shop = await startShop(folder.path, {
    DATABASE_URL: 'postgres://nobody:nothing@127.0.0.1:1/nowhere',
    AMQP_URL: 'amqp://127.0.0.1:1',
    REDIS_URL: 'redis://127.0.0.1:1',
    CONSUL_HTTP_ADDR: '127.0.0.1:1',
    NODE_ENV: 'production',
  })

  // In production the operations are for whoever has the token, and there is none.
  for (const path of ['/ops', '/ops/topology', '/ops/faults', '/ops/stream', '/ops/session?code=']) {
    expectProblem(await request(shop.url, 'GET', path, undefined, { authorization: 'Bearer ' }), 404)
  }
  expect(shop.output()).not.toContain('/ops')
  expect((await fetch(`${shop.url}/health/ready`)).status).toBe(200)
  await shop.interrupt()
})

/** The link that the shop printed works once, and gives a cookie that works on. */
async function letsOneBrowserIn(output: string): Promise<void> {
  const link = /^operations, for one browser: (\S+)$/m.exec(output)?.[1] ?? ''
  const entered = await fetch(link, { redirect: 'manual' })
  const cookie = entered.headers.get('set-cookie') ?? ''
  expect(entered.status).toBe(303)
  expect(cookie).toMatch(/HttpOnly/)
  expect(cookie).toMatch(/SameSite=Strict/)

  const topology = new URL('/ops/topology', link)
  expect((await fetch(topology, { headers: { cookie: cookie.split(';')[0] ?? '' } })).status).toBe(200)
  expect((await fetch(topology)).status).toBe(401)
  expect((await fetch(link, { redirect: 'manual' })).status).toBe(401)
}
