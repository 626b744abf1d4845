import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { type AddressInfo, connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { createClient } from 'redis'
import type { RedisClient } from '../redis.js'

export const redisUrl: string = process.env['REDIS_URL'] ?? 'redis://127.0.0.1:6379'

/** Whether the Redis for tests answers. Says loudly when it does not; throws when MSX_REQUIRE_SERVICES says it must. */
export async function redisAnswers(): Promise<boolean> {
  const { hostname, port } = new URL(redisUrl)
  if (await pings(hostname, Number(port || 6379))) return true

  return missing(`no Redis answers at ${hostname}:${port || 6379}`, 'or set REDIS_URL')
}

/** Whether a Redis of a test's own can be started. */
export async function redisServerInstalled(): Promise<boolean> {
  const child = spawn('redis-server', ['--version'], { stdio: 'ignore' })
  const found = await new Promise<boolean>((resolve) => {
    child.once('error', () => resolve(false))
    child.once('exit', (code) => resolve(code === 0))
  })

  return found || missing('there is no program redis-server to start a Redis with', 'which installs it where it can')
}

function missing(why: string, or: string): false {
  if (process.env['MSX_REQUIRE_SERVICES'] === '1') throw new Error(why)

  console.warn(`\n  SKIPPED: ${why}\n  Start one with \`scripts/services up redis\`, ${or}.\n`)
  return false
}

function pings(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port }, () => socket.write('PING\r\n'))
    socket.setTimeout(3_000, () => socket.destroy())
    // An error is an answer too: a server that wants a password is there.
    socket.once('data', () => {
      resolve(true)
      socket.destroy()
    })
    socket.once('error', () => {})
    socket.once('close', () => resolve(false))
  })
}

/** A client of either library, connected, and how to close it. */
export interface Connected {
  readonly client: RedisClient
  send(...args: string[]): Promise<unknown>
  close(): void
}

export const libraries: readonly ['ioredis', 'redis'] = ['ioredis', 'redis']

export async function connectTo(url: string, library: (typeof libraries)[number]): Promise<Connected> {
  if (library === 'ioredis') {
    const client = new Redis(url, { lazyConnect: true, retryStrategy: () => 50 })
    client.on('error', () => {})
    await client.connect()
    return {
      client,
      send: (command, ...args) => client.call(command!, ...args),
      close: () => client.disconnect(),
    }
  }

  const client = createClient({ url, socket: { reconnectStrategy: () => 50 } })
  client.on('error', () => {})
  await client.connect()
  return { client, send: (...args) => client.sendCommand(args), close: () => client.destroy() }
}

/** A Redis of a test's own, which may be stopped and killed. */
export interface OwnRedis {
  readonly url: string
  start(): Promise<void>
  /** Stops it where it is: connections stand, nothing is answered. */
  freeze(): void
  thaw(): void
  kill(): Promise<void>
  close(): Promise<void>
}

export async function ownRedis(more: Readonly<Record<string, string>> = {}): Promise<OwnRedis> {
  const folder = await mkdtemp(join(tmpdir(), 'msx-redis-'))
  const port = await freePort()
  let child: ChildProcess | undefined

  async function start(): Promise<void> {
    const options = { port, bind: '127.0.0.1', save: '', appendonly: 'no', dir: folder, ...more }
    child = spawn(
      'redis-server',
      Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)]),
      { stdio: 'ignore' },
    )
    for (let tries = 0; !(await pings('127.0.0.1', port)); tries += 1) {
      if (tries > 200) throw new Error(`the Redis of this test does not answer on port ${port}`)
      await new Promise((resolve) => setTimeout(resolve, 25))
    }
  }

  async function kill(): Promise<void> {
    const ending = child
    child = undefined
    if (ending === undefined) return

    const gone = new Promise((resolve) => ending.once('exit', resolve))
    ending.kill('SIGKILL')
    await gone
  }

  await start()
  return {
    url: `redis://127.0.0.1:${port}`,
    start,
    freeze: () => void child?.kill('SIGSTOP'),
    thaw: () => void child?.kill('SIGCONT'),
    kill,
    async close() {
      await kill()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve)
  })
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))

  return port
}
