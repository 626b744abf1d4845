import { createServer } from 'node:http'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { SMOKE } from '../harness/index.js'
import { FASTIFY_TOO, GATEWAYS, PARTS } from './gateways.js'
import { validate } from './load.js'
import { surcharge } from './surcharge.js'
import { BODY, PATH } from './work.js'

const seen: (string | undefined)[] = []
const upstream = createServer((req, res) => {
  seen.push(req.url)
  res.writeHead(200, { 'content-type': 'application/json', 'content-length': BODY.length }).end(BODY)
})
let origin = ''

beforeAll(async () => {
  await new Promise<void>((resolve) => upstream.listen(0, '127.0.0.1', resolve))
  origin = `http://127.0.0.1:${(upstream.address() as { port: number }).port}`
})
afterAll(() => {
  upstream.close()
  upstream.closeAllConnections()
})

test('the body is what it is said to be', () => {
  expect(BODY).toHaveLength(1_024)
  expect(JSON.parse(BODY)).toMatchObject({ id: '7' })
})

test.each(Object.entries({ ...GATEWAYS, ...PARTS }))(
  '%s forwards every request, and wants a token where it has the full chain',
  async (name, start) => {
    const { port, token } = await start(origin)
    seen.length = 0

    await validate(port, token)

    expect(seen).toEqual(Array.from({ length: 20 }, () => PATH))
    expect(token !== undefined).toBe(name === FASTIFY_TOO || /full chain|token/.test(name))
    if (token !== undefined && name !== FASTIFY_TOO)
      await expect(validate(port, undefined)).rejects.toThrow(/answered (?:401|500)/)
  },
)

test('what is added to a server without a network is measured for every gateway, by answers that are right', async () => {
  for await (const { rows } of surcharge.run(SMOKE)) {
    expect(rows.map(({ role }) => role)).toEqual(['bare', 'ours', ...Array.from({ length: 7 }, () => 'peer')])
    for (const { amount } of rows) expect(amount.median).toBeGreaterThan(0)
  }
})
