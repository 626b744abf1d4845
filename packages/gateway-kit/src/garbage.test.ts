import { once } from 'node:events'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { getHeapSpaceStatistics, setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type { Dispatcher } from 'undici'
import { expect, onTestFinished, test } from 'vitest'
import { createGateway } from './gateway.js'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as (options: { type: 'minor' | 'major' }) => void

/** Bytes of what has outlived two collections of young garbage; only the large collections look whether it is alive. */
const old = (): number => getHeapSpaceStatistics().find(({ space_name }) => space_name === 'old_space')!.space_used_size

/**
 * An upstream that holds each answer until so many others have been asked for, so that there is always something under
 * way, and the one for `/slow` until it is due and another request has come.
 */
class Holding {
  most = 5
  slowIsDue = false
  readonly #held: (() => void)[] = []
  #slow: (() => void) | undefined

  dispatch({ path }: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): boolean {
    const rawHeaders = ['Content-Length', '2'].map((text) => Buffer.from(text))
    const controller = { rawHeaders, pause() {}, resume() {} } as unknown as Dispatcher.DispatchController
    handler.onRequestStart?.(controller, {})
    const answer = (): void => {
      handler.onResponseStart?.(controller, 200, { 'content-length': '2' }, 'OK')
      handler.onResponseData?.(controller, Buffer.from('ok'))
      handler.onResponseEnd?.(controller, {})
    }
    if (path === '/slow') {
      this.#slow = answer
      return true
    }

    this.#held.push(answer)
    this.flush()
    if (this.slowIsDue) this.#slow?.()
    if (this.slowIsDue) this.#slow = undefined
    return true
  }

  flush(): void {
    while (this.#held.length > this.most) setImmediate(this.#held.shift()!)
  }
}

test('a request that is over keeps none of those alive that came after it', async () => {
  const upstream = new Holding()
  const route = { path: '/**', upstream: 'http://upstream.example', auth: false, breaker: {} } as const
  const limit = { rateLimit: { limit: 1e6, window: 1 } }
  const gateway = createGateway(
    { routes: [{ ...route, ...limit }] },
    { dispatcher: upstream as unknown as Dispatcher, log: () => {} },
  )
  onTestFinished(() => gateway.close({ timeout: 0 }))
  const { port } = (await gateway.listen(0, '127.0.0.1')).address() as AddressInfo
  const sockets = await Promise.all(Array.from({ length: 10 }, () => connected(port)))
  const slow = await connected(port)
  /** So many by all together, with the young garbage taken out now and then. */
  async function ask(times: number): Promise<void> {
    let asked = 0
    upstream.most = 5
    const by = async (socket: Socket): Promise<void> => {
      while (asked < times) {
        await answered(socket, '/quick')
        asked += 1
        if (asked % 100 === 0) collect({ type: 'minor' })
        if (asked === times) {
          upstream.most = 0
          upstream.flush()
        }
      }
    }
    await Promise.all(sockets.map(by))
  }
  await ask(500)
  collect({ type: 'major' })

  // It is old when it ends, in the midst of the others.
  const late = answered(slow, '/slow')
  await ask(500)
  const before = old()
  upstream.slowIsDue = true
  await Promise.all([late, ask(3_000)])

  expect(old() - before).toBeLessThan(4_000_000)
})

async function connected(port: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1')
  onTestFinished(() => void socket.destroy())
  await once(socket, 'connect')
  return socket
}

async function answered(socket: Socket, path: string): Promise<void> {
  socket.write(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`)
  await once(socket, 'data')
}
