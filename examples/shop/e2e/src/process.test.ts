import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { newCustomer } from './customer.js'
import { freshFolder, refusedStart, startShop } from './shop-process.js'

let folder: Awaited<ReturnType<typeof freshFolder>>

beforeEach(async () => {
  folder = await freshFolder()
})

afterEach(() => folder.remove())

test('Ctrl-C ends the shop and frees its port; what was bought is there at the next start', async () => {
  const first = await startShop(folder.path)
  const ada = await newCustomer(first.url)
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
  })

  expect((await fetch(`${shop.url}/health/ready`)).status).toBe(200)
  await shop.interrupt()
})
