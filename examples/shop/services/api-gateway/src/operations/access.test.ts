import { createDiscovery, fixed } from '@msx/discovery'
import type { CallingClient } from '@msx/gateway-kit/redis'
import { createInstruments, createLog } from '@shop/platform'
import { expect, onTestFinished, test } from 'vitest'
import { type ApiGatewayDeps, createApiGateway } from '../gateway.js'
import { localLink, redisLink } from './link.js'
import { createSessions, sessionLength } from './session.js'

const token = 'operations-of-this-test'

/** A gateway with nothing behind it, whose clients are who their X-Forwarded-For says. */
async function open(options: Partial<ApiGatewayDeps> = {}) {
  const discovery = createDiscovery({ source: fixed({}) })
  let now = 0
  const gateway = createApiGateway({
    discovery,
    log: createLog('api-gateway', 'silent'),
    instruments: createInstruments('api-gateway', { token }),
    rateLimit: 1_000,
    signInLimit: 10,
    trust: { hops: 1 },
    clock: { now: () => now },
    ...options,
  })
  const { url } = await gateway.start()
  let running = true
  const stop = async () => {
    if (!running) return
    running = false
    await gateway.stop()
    await discovery.close()
  }
  onTestFinished(stop)

  const ask = (path: string, address: string, headers: Record<string, string> = {}) =>
    fetch(url + path, { headers: { 'x-forwarded-for': address, ...headers }, redirect: 'manual' })
  return {
    ask,
    stop,
    status: async (address: string, shown: string) =>
      (await ask('/ops/faults', address, { authorization: `Bearer ${shown}` })).status,
    passes(ms: number) {
      now += ms
    },
  }
}

const wrong = 'operations-of-another-one'
const repeated = <T>(times: number, make: (index: number) => Promise<T>) =>
  Promise.all(Array.from({ length: times }, (_, index) => make(index)))

test('ten wrong tokens a minute are looked at from one address; then nor is the right one, and nobody else is kept out', async () => {
  const { ask, status, passes } = await open()

  const statuses = await repeated(30, () => status('1.1.1.1', wrong))
  const refused = await ask('/ops/faults', '1.1.1.1', { authorization: `Bearer ${token}` })

  expect(statuses.filter((one) => one === 401)).toHaveLength(10)
  expect(statuses.filter((one) => one === 429)).toHaveLength(20)
  expect(refused.status).toBe(429)
  expect(Object.fromEntries(refused.headers)).toMatchObject({
    'content-type': 'application/problem+json',
    'retry-after': '6',
    'ratelimit-policy': '"operations";q=10;w=60',
    ratelimit: '"operations";r=0;t=60',
  })
  expect(await status('2.2.2.2', token)).toBe(200)

  passes(5_990)
  expect(await status('1.1.1.1', token)).toBe(429)
  passes(20)
  expect(await status('1.1.1.1', token)).toBe(200)
})

test('all addresses of an IPv6 network are one', async () => {
  const { status } = await open()

  await repeated(10, (index) => status(`2001:db8::${index + 1}`, wrong))

  expect(await status('2001:db8::abcd', wrong)).toBe(429)
  expect(await status('2001:db8:0:1::1', wrong)).toBe(401)
})

test('a hundred wrong ones a minute are looked at in all, and who was in before stays in', async () => {
  const { status } = await open()
  expect(await status('9.9.9.9', token)).toBe(200)

  const statuses = await repeated(120, (index) => status(`10.0.0.${index % 12}`, wrong))

  expect(statuses.filter((one) => one === 401)).toHaveLength(100)
  expect(await status('3.3.3.3', token)).toBe(429)
  expect(await status('9.9.9.9', token)).toBe(200)
})

test('what is no guess is not counted', async () => {
  const { ask, status } = await open({ operationsLink: localLink('the-code') })

  for (let i = 0; i < 15; i++) {
    expect((await ask('/ops/faults', '1.1.1.1')).status).toBe(401)
    expect((await ask('/ops/session', '1.1.1.1')).status).toBe(401)
    expect(await status('1.1.1.1', token)).toBe(200)
  }
})

test('codes of the link are guessed no oftener than tokens', async () => {
  const { ask, status } = await open({ operationsLink: localLink('the-code') })

  const statuses = await repeated(12, async (index) => (await ask(`/ops/session?code=${index}`, '1.1.1.1')).status)

  expect(statuses.filter((one) => one === 401)).toHaveLength(10)
  expect((await ask('/ops/session?code=the-code', '1.1.1.1')).status).toBe(429)
  expect(await status('1.1.1.1', token)).toBe(429)
  expect((await ask('/ops/session?code=the-code', '2.2.2.2')).status).toBe(303)
})

/** Redis, as far as a link asks it. */
function fakeRedis(): CallingClient & { away: boolean } {
  const kept = new Map<string, string>()
  return {
    away: false,
    async call(command, key = '', value = '', option) {
      if (this.away) throw new Error('Connection is closed.')
      expect([command, option]).toEqual(['SET', 'GET'])
      const before = kept.get(key) ?? null
      kept.set(key, value)
      return before
    },
  }
}

const redis = fakeRedis()
test.each([
  [
    'in one process',
    (link = localLink('the-code')) =>
      () =>
        link,
  ],
  ['by Redis', () => () => redisLink(redis, 'shop', 'the-code')],
])(
  'a gateway that is started again, %s, knows the browser that came by the link, and lets no other in by it',
  async (_, make) => {
    const link = make()
    const first = await open({ operationsLink: link() })
    const entered = await first.ask('/ops/session?code=the-code', '1.1.1.1')
    const cookie = entered.headers.get('set-cookie') ?? ''
    expect(entered.status).toBe(303)
    await first.stop()

    const second = await open({ operationsLink: link() })

    expect(cookie).toMatch(/^shop_operations=\S+; Max-Age=604800; Path=\/ops; HttpOnly; SameSite=Strict$/)
    expect((await second.ask('/ops/faults', '1.1.1.1', { cookie: cookie.split(';')[0] ?? '' })).status).toBe(200)
    expect((await second.ask('/ops/session?code=the-code', '1.1.1.1')).status).toBe(401)
  },
)

test('while Redis is away nobody comes in by the link, and it is not used up', async () => {
  const redis = fakeRedis()
  const { ask } = await open({ operationsLink: redisLink(redis, 'shop', 'the-code') })

  redis.away = true
  const refused = await ask('/ops/session?code=the-code', '1.1.1.1')
  redis.away = false

  expect(refused.status).toBe(503)
  expect(refused.headers.get('retry-after')).toBe('1')
  expect((await ask('/ops/session?code=the-code', '1.1.1.1')).status).toBe(303)
})

test('a session ends after a week, and with the token; nobody makes one up', () => {
  let now = 1_000
  const sessions = createSessions(token, () => now)
  const session = sessions.open()
  const [end = '', signature = ''] = session.split('.')

  expect(sessions.isOpen(session)).toBe(true)
  expect(createSessions(`${token}2`, () => now).isOpen(session)).toBe(false)
  for (const made of ['', '.', end, `${end}.`, `${Number(end) + 1}.${signature}`, `9e99.${signature}`]) {
    expect(sessions.isOpen(made)).toBe(false)
  }

  now += sessionLength
  expect(sessions.isOpen(session)).toBe(false)
})
