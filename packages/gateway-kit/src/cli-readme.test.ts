import { randomUUID } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { hashApiKey } from './api-keys.js'
import { run, urlOf } from './cli/testing.js'
import { ownRedis, redisServerInstalled } from './internal/test-redis.js'
import { type Echoed, echo, startUpstream } from './internal/test-servers.js'

const proto = `
syntax = "proto3";
service PaymentService { rpc Pay (Payment) returns (Payment) { option (google.api.http) = { post: "/api/payments" body: "*" }; } }
message Payment { string order_id = 1; }
`

/** The first JSON of the part about the command. */
async function exampleOf(readme: URL): Promise<string> {
  const part = (await readFile(readme, 'utf8')).split('## msx-gateway')[1]!

  return /```json\n([\s\S]*?)```/.exec(part)![1]!
}

test.runIf(await redisServerInstalled())('the file in the README is a gateway', { timeout: 30_000 }, async () => {
  const key = `key-of-a-partner-${randomUUID()}`
  const example = (await exampleOf(new URL('../README.md', import.meta.url))).replace('sha256:…', hashApiKey(key))
  const redis = await ownRedis()
  onTestFinished(() => redis.close())
  const upstream = await startUpstream(echo)
  // Consul is asked for payment-service alone.
  const consul = await startUpstream((_, res) => res.setHeader('x-consul-index', '1').end('[]'))
  const env = {
    PORT: '0',
    DRAIN: '0',
    METRICS_PORT: '0',
    REDIS_URL: redis.url,
    CONSUL_URL: consul.url,
    USERS_PORT: String(upstream.port),
    PRODUCTS: upstream.url,
  }
  const beside = async (file: string): Promise<void> =>
    writeFile(
      join(dirname(file), 'payment.proto'),
      proto.replace('service', 'import "google/api/annotations.proto";\nservice'),
    )

  const checked = await run('check', example, env, beside)
  expect([await checked.done, ...checked.err]).toEqual([0])

  const running = await run('start', example, env, beside)
  const url = await urlOf(running)
  const ask = async (path: string, init?: RequestInit): Promise<[number, string | null]> => {
    const response = await fetch(url + path, init)
    const { url: seen, headers } = (response.ok ? await response.json() : {}) as Partial<Echoed>
    return [response.status, seen === undefined ? null : `${seen} ${headers?.['x-user-id'] ?? 'nobody'}`]
  }

  expect(await ask('/api/products/7')).toEqual([200, '/api/products/7 nobody'])
  expect(await ask('/api/users/7')).toEqual([401, null])
  expect(await ask('/api/users/7', { headers: { 'x-api-key': key } })).toEqual([200, '/api/users/7 partner-1'])
  expect(await ask('/api/payments', { method: 'POST' })).toEqual([401, null])
  expect((await fetch(`${url}/health/ready`)).status).toBe(200)
  const page = /metrics are at (\S+)/.exec(running.out.join('\n'))![1]!
  expect(await (await fetch(page)).text()).toContain('route="/api/users/:id",status="200"')

  running.signal('SIGTERM')
  expect(await running.done).toBe(0)
})
