import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { expect, test } from 'vitest'
import { freePort } from './port.js'

test('finds a free port for 0', async () => {
  expect(await freePort(0)).toBeGreaterThan(0)
})

test('leaves the port free for whoever asked', async () => {
  const port = await freePort(0)

  expect(await freePort(port)).toBe(port)
})

test('names a port that is taken, and the variable', async () => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo

  await expect(freePort(port)).rejects.toThrow(`port ${port} is taken by another program; stop it, or set PORT`)
  server.close()
})
