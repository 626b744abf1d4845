import { request as ask } from 'node:http'
import { expect, onTestFinished, test } from 'vitest'
import { createGateway } from './gateway.js'
import { serve, signalled, startUpstream } from './internal/test-servers.js'
import { compose } from './middleware.js'
import { proxy } from './proxy.js'
import type { AccessLogEntry } from './request-log.js'
import { shed } from './shed.js'

/** Asks, and hangs up as soon as `until` has come. */
function askAndLeave(url: string, until: Promise<void>): void {
  const asked = ask(url, { headers: { authorization: 'Bearer good' } })
  asked.on('error', () => {}).end()
  void until.then(() => asked.destroy())
}

test('a client that leaves while its token is looked at is logged with a code, and no upstream is asked', async () => {
  let asked = 0
  const upstream = await startUpstream((_req, res) => {
    asked += 1
    res.writeHead(200, { 'content-type': 'text/event-stream' }).write('data: 1\n\n')
  })
  const [looking, verified, logged] = [signalled(), signalled(), signalled<AccessLogEntry>()]
  const verify = async (): Promise<{ sub: string }> => {
    looking.fire()
    await verified.promise
    return { sub: 'u1' }
  }
  const gateway = createGateway(
    {
      routes: [
        { path: '/a', upstream: upstream.url, auth: 'users' },
        { path: '/b', upstream: upstream.url, auth: false },
      ],
    },
    { verifiers: { users: verify }, log: logged.fire },
  )
  onTestFinished(() => gateway.close({ timeout: 0 }))
  const { url } = await serve(gateway.handler)

  askAndLeave(`${url}/a`, looking.promise)
  const { status, error, attempts } = await logged.promise
  verified.fire()
  // What follows on the way to the upstream would be there before this one.
  const later = await fetch(`${url}/b`)
  await later.body?.cancel()

  expect({ status, code: error?.code, attempts }).toEqual({ status: 499, code: 'MSX_PROXY_CLIENT_GONE', attempts: 0 })
  expect(asked).toBe(1)
})

test.each([
  ['shed()', shed({ inFlight: 1, utilisation: false })],
  [
    'a gateway',
    createGateway({ routes: [{ path: '/**', upstream: 'http://127.0.0.1:9' }], limits: { inFlight: 1 } }).handler,
  ],
])(
  '%s behind a middleware that took its time does not count a client that has left for ever',
  async (_name, counts) => {
    const [waiting, closed] = [signalled(), signalled()]
    const slow = compose(
      (req, res, next) => {
        if (req.url === '/b') return next()

        res.once('close', () => {
          next()
          closed.fire()
        })
        waiting.fire()
      },
      counts,
      (_req, res) => res.end(),
    )
    const { url } = await serve(slow)

    askAndLeave(`${url}/a`, waiting.promise)
    await closed.promise
    const { status } = await fetch(`${url}/b`)

    expect(status).not.toBe(503)
  },
)

test('a proxy behind a middleware that took its time asks nobody for a client that has left', async () => {
  let asked = 0
  const upstream = await startUpstream((_req, res) => {
    asked += 1
    res.end()
  })
  const [waiting, closed] = [signalled(), signalled()]
  const errors: string[] = []
  const slow = compose(
    (req, res, next) => {
      if (req.url === '/b') return next()

      res.once('close', () => {
        next()
        closed.fire()
      })
      waiting.fire()
    },
    proxy(upstream.url, { onError: ({ code }) => errors.push(code) }),
  )
  const { url } = await serve(slow)

  askAndLeave(`${url}/a`, waiting.promise)
  await closed.promise
  await (await fetch(`${url}/b`)).text()

  expect(asked).toBe(1)
  expect(errors).toEqual(['MSX_PROXY_CLIENT_GONE'])
})
