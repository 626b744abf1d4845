import { once } from 'node:events'
import { readdir, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { PGlite } from '@electric-sql/pglite'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { type Customer, expectProblem, newCustomer, request } from './customer.js'
import { reachableFromOutside } from './outside.js'
import { freshFolder, refusedStart, type ShopProcess, startShop, temporaryFolder } from './shop-process.js'

/** A folder for as long as the test runs. */
async function folderOf(make: typeof freshFolder): Promise<string> {
  const { path, remove } = await make()
  onTestFinished(remove)
  return path
}

// One shop is started twice in these two, since starting takes the longest of all that is looked at.
describe('a shop that is stopped and started again', () => {
  let shop: ShopProcess
  let data: Awaited<ReturnType<typeof freshFolder>>
  let ada: Customer

  beforeAll(async () => {
    data = await freshFolder()
    shop = await startShop(data.path)
  })

  afterAll(async () => {
    await shop.kill()
    await data.remove()
  })

  test('refuses a second one on its data, naming the process and the variable', async () => {
    const { code, output } = await refusedStart(data.path)

    expect(code).toBe(1)
    expect(output).toContain(`in use by process ${shop.pid}`)
    expect(output).toContain('DATA_DIR')
  })

  test('lets one browser in by the link that it printed, and ends with Ctrl-C, its port free', async () => {
    ada = await newCustomer(shop.url)
    await letsOneBrowserIn(shop.output())

    expect(await shop.interrupt()).toBe(0)

    await expect(fetch(shop.url)).rejects.toThrow()
  })

  test('has what was bought, and uses none of the servers that its environment names', async () => {
    shop = await startShop(data.path, {
      DATABASE_URL: 'postgres://nobody:nothing@127.0.0.1:1/nowhere',
      AMQP_URL: 'amqp://127.0.0.1:1',
      REDIS_URL: 'redis://127.0.0.1:1',
      CONSUL_HTTP_ADDR: '127.0.0.1:1',
      NODE_ENV: 'production',
    })

    const { email } = ada
    const password = 'correct horse battery'
    expect((await request(shop.url, 'POST', '/api/sessions', { email, password })).status).toBe(200)
    expect((await request(shop.url, 'GET', '/health/ready')).status).toBe(200)
    expect(await reachableFromOutside([shop.url])).toEqual([])
  })

  test('has no operations in production, where they are for whoever has the token, and there is none', async () => {
    for (const path of ['/ops', '/ops/topology', '/ops/faults', '/ops/stream', '/ops/session?code=']) {
      expectProblem(await request(shop.url, 'GET', path, undefined, { authorization: 'Bearer ' }), 404)
    }
    expect(shop.output()).not.toContain('/ops')
  })

  test('ends as with Ctrl-C when its terminal is closed', async () => {
    expect(await shop.interrupt('SIGHUP')).toBe(0)
    expect(await readdir(data.path)).not.toContain('lock.json')
  })
})

test('a busy port is an error that names the port and the variable, before a database is made', async () => {
  const empty = await folderOf(temporaryFolder)
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo

  const { code, output } = await refusedStart(empty, { PORT: String(port) })

  expect(code).toBe(1)
  expect(output).toContain(`port ${port} is taken`)
  expect(output).not.toContain('First start')
  server.close()
})

test('a data folder that cannot be written is an error that names it and the variable', async () => {
  const file = join(await folderOf(temporaryFolder), 'a-file')
  await writeFile(file, '')

  const { code, output } = await refusedStart(join(file, 'data'))

  expect(code).toBe(1)
  expect(output).toContain(`the data folder ${join(file, 'data')} cannot be written`)
  expect(output).toContain('DATA_DIR')
})

test('each service is kept out of the tables of all others, and of their outboxes and sagas', async () => {
  const data = await PGlite.create({ dataDir: join(await folderOf(freshFolder), 'postgres') })
  onTestFinished(() => data.close())
  const { rows: tables } = await data.query<{ owner: string; name: string }>(
    `SELECT tableowner AS owner, quote_ident(schemaname) || '.' || quote_ident(tablename) AS name
     FROM pg_tables WHERE tableowner LIKE '%\\_service'`,
  )
  const roles = [...new Set(tables.map(({ owner }) => owner))].sort()
  expect(roles).toEqual(
    ['analytics', 'notification', 'order', 'payment', 'product', 'user'].map((name) => `${name}_service`),
  )

  const readable: string[] = []
  for (const role of roles) {
    await data.exec(`SET ROLE ${role}`)
    for (const { owner, name } of tables) {
      const refused = await data.query(`SELECT 1 FROM ${name} LIMIT 1`).catch((error: { code?: string }) => error.code)
      if ((refused === '42501') === (owner === role)) readable.push(`${role} ${name}`)
    }
  }
  expect(readable).toEqual([])
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
