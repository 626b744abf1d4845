import { createServer, type RequestListener } from 'node:http'
import { createRequire } from 'node:module'
import type { AddressInfo } from 'node:net'
import { isCircuitOpenError } from '@msx/circuit-breaker'
import { afterEach, describe, expect, it } from 'vitest'

/** As a user has them: the built files of both packages in front of one undici. */
const from = (name: string) => createRequire(new URL(`../packages/${name}/package.json`, import.meta.url))
const { Agent, request, fetch } = from('retry')('undici')
const { circuitBreakerInterceptor } = await import(from('circuit-breaker').resolve('@msx/circuit-breaker/undici'))
const { retryInterceptor, timeoutInterceptor } = await import(from('retry').resolve('@msx/retry/undici'))

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

async function serve(listener: RequestListener): Promise<string> {
  const server = createServer(listener)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  cleanups.push(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** The order that both READMEs name: the timeout of an attempt, the breaker, the retry, the timeout of the whole. */
function stack({ attempts = 3, failures = 5, attemptTimeout = 1_000, total = 5_000 } = {}) {
  const breaker = circuitBreakerInterceptor({ trip: { failures } })
  const plain = new Agent()
  cleanups.push(() => plain.destroy())
  const dispatcher = plain.compose(
    timeoutInterceptor({ timeout: attemptTimeout }),
    breaker,
    retryInterceptor({ attempts, backoff: () => 1 }),
    timeoutInterceptor({ timeout: total }),
  )
  const circuit = (origin: string) => breaker.circuits.get(origin)
  const get = async (url: string, options: object = {}) => {
    const { statusCode, body } = await request(url, { dispatcher, ...options })
    return { status: statusCode, text: (await body.text()) as string }
  }
  return { dispatcher, circuit, get }
}

/** Ends the first `bad` requests with a 503, the others well. */
function flaky(bad: number) {
  const seen: string[] = []
  const listener: RequestListener = async (incoming, response) => {
    let body = ''
    for await (const chunk of incoming) body += chunk
    seen.push(`${incoming.method} ${body}`.trim())
    response.writeHead(seen.length <= bad ? 503 : 200).end(seen.length <= bad ? 'sick' : 'well')
  }
  return { seen, listener }
}

describe('interceptors of both packages together', () => {
  it('the breaker sees each attempt, and the caller the last answer', async () => {
    const { seen, listener } = flaky(2)
    const origin = await serve(listener)
    const { get, circuit } = stack()

    expect(await get(origin)).toEqual({ status: 200, text: 'well' })

    expect(seen).toHaveLength(3)
    expect(circuit(origin).metrics).toMatchObject({ inFlight: 0, rejected: 0 })
    expect(circuit(origin).state).toBe('closed')
  })

  it('a circuit that opens ends the retries, and the service is left alone', async () => {
    const { seen, listener } = flaky(100)
    const origin = await serve(listener)
    const { get, circuit } = stack({ attempts: 10, failures: 2 })

    const error = await get(origin).catch((thrown: unknown) => thrown)

    expect(isCircuitOpenError(error)).toBe(true)
    expect(seen).toHaveLength(2)
    expect(circuit(origin)).toMatchObject({ state: 'open', metrics: { inFlight: 0, rejected: 1 } })
  })

  it('an attempt that hangs is a failure to the breaker, and is tried again', async () => {
    let served = 0
    const origin = await serve((_, response) => {
      if (++served > 1) response.end('well')
    })
    const { get, circuit } = stack({ attemptTimeout: 100 })
    const verdicts: string[] = []
    circuit(origin).on('result', ({ verdict }: { verdict: string }) => verdicts.push(verdict))

    expect(await get(origin)).toEqual({ status: 200, text: 'well' })

    expect(verdicts).toEqual(['failure', 'success'])
  })

  it('the timeout of the whole is a caller who gave up: no failure, and no place lost', async () => {
    const origin = await serve(() => {})
    const { get, circuit } = stack({ attemptTimeout: 2_000, total: 100 })

    await expect(get(origin)).rejects.toMatchObject({ code: 'MSX_TIMEOUT', timeout: 100 })

    expect(circuit(origin).metrics).toMatchObject({ failures: 0, inFlight: 0 })
  })

  it.each([
    ['a PUT', { method: 'PUT', body: 'x' }, ['PUT x', 'PUT x', 'PUT x'], 200],
    ['a POST', { method: 'POST', body: 'x' }, ['POST x'], 503],
    [
      'a POST with a key',
      { method: 'POST', body: 'x', headers: { 'idempotency-key': '1' } },
      ['POST x', 'POST x', 'POST x'],
      200,
    ],
  ])('%s is sent as often as it may be', async (_, options, sent, status) => {
    const { seen, listener } = flaky(2)
    const origin = await serve(listener)

    expect(await stack().get(origin, options)).toMatchObject({ status })
    expect(seen).toEqual(sent)
  })

  it('hundreds of requests at once leave no permit behind, under request and fetch', async () => {
    const origin = await serve((_, response) => response.writeHead(Math.random() < 0.2 ? 503 : 200).end('x'))
    const { dispatcher, get, circuit } = stack({ attempts: 5, failures: 1_000 })

    await Promise.all(
      Array.from({ length: 200 }, (_, index) =>
        index % 2 ? get(origin) : fetch(origin, { dispatcher }).then((response: Response) => response.text()),
      ),
    )

    expect(circuit(origin)).toMatchObject({ state: 'closed', metrics: { inFlight: 0 } })
  })
})
