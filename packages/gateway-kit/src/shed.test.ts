import { describe, expect, test } from 'vitest'
import { createGateway } from './gateway.js'
import { manualClock, serve, signalled, startUpstream } from './internal/test-servers.js'
import { compose } from './middleware.js'
import { Shedder, shed } from './shed.js'

describe('by the number under way', () => {
  test.each([
    [0, 9, true],
    [0, 10, false],
    [1, 10, true],
    [1, 11, false],
    [-1, 4, true],
    [-1, 5, false],
    [Number.POSITIVE_INFINITY, 1_000, true],
  ])('of 10, priority %d with %d under way: %s', (priority, underWay, admitted) => {
    expect(new Shedder('test', { inFlight: 10, utilisation: false }).admits(priority, underWay)).toBe(admitted)
  })

  test('one more is a 503 with Retry-After, until one has left', async () => {
    const asked = signalled()
    const finish = signalled()
    const { url } = await serve(
      compose(shed({ inFlight: 1 }), async (req, res) => {
        if (req.url === '/slow') {
          asked.fire()
          await finish.promise
        }
        res.end()
      }),
    )
    const first = fetch(`${url}/slow`)
    await asked.promise

    const refused = await fetch(url)
    expect(refused.status).toBe(503)
    expect(refused.headers.get('retry-after')).toBe('1')
    expect(await refused.json()).toMatchObject({ status: 503, code: 'MSX_GATEWAY_OVERLOADED' })

    finish.fire()
    await (await first).text()
    expect((await fetch(url)).status).toBe(200)
  })
})

describe('by how busy the event loop is', () => {
  test('the share that is refused grows while it is too busy and shrinks while it is not', () => {
    const clock = manualClock()
    let busy = 1
    const shedder = new Shedder('test', { utilisation: 0.9, clock, random: () => 0.35, measure: () => busy })
    const look = (priority: number): boolean => shedder.admits(priority, 0)
    const after = (looks: number): void => {
      for (let count = 0; count < looks; count += 1) {
        clock.advance(100)
        look(0)
      }
    }

    expect(look(0)).toBe(true)
    after(2)
    expect([look(-1), look(0), look(1)]).toEqual([false, true, true])
    after(2)
    expect([look(-1), look(0), look(1)]).toEqual([false, false, true])
    after(10)
    expect([look(-1), look(0), look(1), look(Number.POSITIVE_INFINITY)]).toEqual([false, false, false, true])

    busy = 0.5
    after(10)
    expect([look(-1), look(0), look(1)]).toEqual([true, true, true])
  })

  test('is looked at ten times a second, not once per request', () => {
    const clock = manualClock()
    let looks = 0
    const measure = (): number => {
      looks += 1
      return 1
    }
    const shedder = new Shedder('test', { clock, measure })

    for (let count = 0; count < 1_000; count += 1) shedder.admits(0, 0)
    expect(looks).toBe(0)
    clock.advance(100)
    for (let count = 0; count < 1_000; count += 1) shedder.admits(0, 0)
    expect(looks).toBe(1)
  })

  test('is measured by Node unless told otherwise', () => {
    const clock = manualClock()
    const shedder = new Shedder('test', { utilisation: 0.000_001, clock, random: () => 0 })
    for (const end = performance.now() + 5; performance.now() < end; );
    clock.advance(100)

    expect(shedder.admits(0, 0)).toBe(false)
  })
})

test.each([
  [{ inFlight: 0 }, 'shed: inFlight must be a positive integer'],
  [{ utilisation: 2 }, 'shed: utilisation must be'],
  [{ priority: 1 }, 'shed: priority must be a function'],
])('shed(%j) is refused', (options, message) => {
  expect(() => shed(options as never)).toThrow(message)
})

test('a gateway refuses by the priority of its routes, before it looks at tokens; health is always told', async () => {
  const asked = signalled()
  const finish = signalled()
  const upstream = await startUpstream(async (_req, res) => {
    asked.fire()
    await finish.promise
    res.end()
  })
  let verified = 0
  const gateway = createGateway(
    {
      routes: [
        { path: '/slow', upstream: upstream.url, auth: false },
        { path: '/low', upstream: upstream.url, auth: 'token', priority: -1 },
        { path: '/always', upstream: upstream.url, auth: 'token', priority: Number.POSITIVE_INFINITY },
      ],
      limits: { inFlight: 1 },
      health: { live: '/health/live', ready: '/health/ready' },
    },
    {
      verifiers: {
        token: () => {
          verified += 1
          throw new Error('no')
        },
      },
    },
  )
  const { url } = await serve(gateway.handler)
  const first = fetch(`${url}/slow`)
  await asked.promise

  const authorization = 'Bearer a'
  const statuses = async (...paths: string[]): Promise<number[]> =>
    Promise.all(paths.map(async (path) => (await fetch(url + path, { headers: { authorization } })).status))

  expect(await statuses('/low')).toEqual([503])
  expect(verified).toBe(0)
  expect(await statuses('/always', '/health/live', '/health/ready')).toEqual([401, 200, 200])

  finish.fire()
  await (await first).text()
  const closing = gateway.close({ delay: 50 })
  expect(await statuses('/health/live', '/health/ready', '/always')).toEqual([200, 503, 401])
  await closing
})
