import type { AddressInfo } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import type { GatewayLimits } from '../config.js'
import { createGateway } from '../gateway.js'
import { crowd, reader, told, upstream, writer } from './actors.js'

/** `pnpm soak:gateway` is the same with the numbers of the proof. */
const LONG = process.env['MSX_SOAK'] === '1'
const BYTES = LONG ? 1_073_741_824 : 134_217_728
const CONNECTIONS = LONG ? 10_000 : 1_000
const MEGABYTE = 1_048_576

async function start(limits: GatewayLimits = {}): Promise<number> {
  const gateway = createGateway({ routes: [{ path: '/**', upstream: await upstream() }], limits })
  onTestFinished(() => gateway.close({ timeout: 0 }))
  return ((await gateway.listen(0, '127.0.0.1')).address() as AddressInfo).port
}

/** By how many bytes this process grew at most while something went on. */
async function growth<T>(work: Promise<T>): Promise<{ result: T; grown: number }> {
  const before = process.memoryUsage.rss()
  let most = before
  const timer = setInterval(() => {
    most = Math.max(most, process.memoryUsage.rss())
  }, 20)
  try {
    return { result: await work, grown: Math.max(most, process.memoryUsage.rss()) - before }
  } finally {
    clearInterval(timer)
  }
}

const say = (text: string): void => {
  if (LONG) console.log(text)
}

test(`${BYTES / MEGABYTE} MiB to a client that stands still now and then: memory stays as it is`, async () => {
  const port = await start()
  await reader(port, 16 * MEGABYTE)

  const { result, grown } = await growth(reader(port, BYTES))

  say(`down: ${result} bytes, grown by ${(grown / MEGABYTE).toFixed(1)} MiB`)
  expect(result).toBe(BYTES)
  expect(grown).toBeLessThan(64 * MEGABYTE)
}, 120_000)

test(`${BYTES / MEGABYTE} MiB to an upstream that stands still now and then: memory stays as it is`, async () => {
  const port = await start()
  await writer(port, 16 * MEGABYTE)

  const { result, grown } = await growth(writer(port, BYTES))

  say(`up: ${result} bytes, grown by ${(grown / MEGABYTE).toFixed(1)} MiB`)
  expect(result).toBe(BYTES)
  expect(grown).toBeLessThan(64 * MEGABYTE)
}, 120_000)

test(`${CONNECTIONS} connections that are kept open after a request: the next one is served at once`, async () => {
  const port = await start({ keepAliveTimeout: 600_000 })
  await (await fetch(`http://127.0.0.1:${port}/?bytes=10`)).text()

  const { result, grown } = await growth(
    (async () => {
      const clients = crowd(port, CONNECTIONS, 'GET /?bytes=10 HTTP/1.1\r\nHost: a\r\n\r\n')
      let said = await told<{ opened?: number; answered?: number }>(clients)
      while (said.answered === undefined) said = await told(clients)
      return said.answered
    })(),
  )
  const startedAt = performance.now()
  const text = await (await fetch(`http://127.0.0.1:${port}/?bytes=10`)).text()

  say(
    `idle: ${result} connections, ${(grown / CONNECTIONS / 1_024).toFixed(1)} KiB each, one more in ${(performance.now() - startedAt).toFixed(1)} ms`,
  )
  expect(result).toBe(CONNECTIONS)
  expect(text).toHaveLength(10)
  expect(performance.now() - startedAt).toBeLessThan(1_000)
  expect(grown / CONNECTIONS).toBeLessThan(65_536)
}, 120_000)

test(`${CONNECTIONS} heads that never end: others are served, and all of these are cut in time`, async () => {
  const port = await start({ headerTimeout: 2_000 })
  const startedAt = performance.now()
  const clients = crowd(port, CONNECTIONS, 'GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ')
  await told(clients)

  expect(await (await fetch(`http://127.0.0.1:${port}/?bytes=10`)).text()).toHaveLength(10)
  let said = await told<{ closed?: number }>(clients)
  while (said.closed === undefined) said = await told(clients)

  say(`slow heads: ${said.closed} cut after ${((performance.now() - startedAt) / 1_000).toFixed(1)} s`)
  expect(said.closed).toBe(CONNECTIONS)
}, 60_000)
