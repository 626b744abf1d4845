// biome-ignore-all lint/suspicious/noTemplateCurlyInString: that is how a config names a variable
import { spawn } from 'node:child_process'
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, onTestFinished, test } from 'vitest'
import { hashApiKey } from './api-keys.js'
import { parseConfig } from './cli/config-text.js'
import { type Io, main } from './cli/main.js'
import { proto, startOrders } from './grpc/testing/server.js'
import { echo, startUpstream } from './internal/test-servers.js'

interface Run {
  readonly out: string[]
  readonly err: string[]
  readonly done: Promise<number>
  signal(name: string): void
  write(config: unknown): Promise<void>
}

/** The command, in this process, on a file of its own. */
async function run(command: string, config: unknown, env: Io['env'] = {}): Promise<Run> {
  const folder = await mkdtemp(join(tmpdir(), 'msx-gateway-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  const file = join(folder, 'config.json')
  const write = async (content: unknown): Promise<void> => {
    await writeFile(`${file}.new`, typeof content === 'string' ? content : JSON.stringify(content))
    await rename(`${file}.new`, file)
  }
  await write(config)

  const out: string[] = []
  const err: string[] = []
  const handlers = new Map<string, () => void>()
  const done = main([command, file], {
    env,
    out: (text) => out.push(text.replaceAll(file, 'config.json')),
    err: (text) => err.push(text.replaceAll(file, 'config.json')),
    onSignal(signal, handler) {
      handlers.set(signal, handler)
      return () => handlers.delete(signal)
    },
    isTerminal: true,
  })
  const signal = (name: string): void => handlers.get(name)?.()
  onTestFinished(async () => {
    signal('SIGTERM')
    await done
  })
  return { out, err, done, signal, write }
}

async function urlOf({ out, err }: Run): Promise<string> {
  await expect.poll(() => out.concat(err).join('\n'), { timeout: 5_000 }).toMatch(/http/)
  return out[0]!.slice(out[0]!.indexOf('http'))
}

const listen = { port: 0, host: '127.0.0.1' }

describe('check', () => {
  test('says that a config is valid', async () => {
    const { out, done } = await run('check', { routes: [{ path: '/a', upstream: 'http://127.0.0.1:1' }] })

    expect(await done).toBe(0)
    expect(out).toEqual(['config.json is valid: 1 route'])
  })

  test('says everything that is wrong, and where', async () => {
    const { err, done } = await run('check', {
      routes: [{ path: 'a', upstream: 'http://127.0.0.1:1', timeout: { idle: -1 } }],
      trusted: true,
    })

    expect(await done).toBe(1)
    expect(err[0]).toMatch(/^config\.json is not valid:\n/)
    for (const place of ['trusted: ', 'routes[0].path: ', 'routes[0].timeout.idle: ']) expect(err[0]).toContain(place)
  })

  test.each<[string, unknown, string]>([
    ['no JSON', '{', 'config: is not JSON'],
    ['a list', [], 'config: must be an object'],
    [
      'an unset variable',
      { routes: [], listen: { port: 1, host: '${MSX_HOST}' } },
      'listen.host: needs the environment variable MSX_HOST, which is not set',
    ],
    [
      'no number',
      { routes: [], listen: { port: '${TEXT:number}' } },
      'listen.port: needs a number in the environment variable TEXT',
    ],
    ['a prototype', '{"routes":[],"defaults":{"__proto__":{"auth":false}}}', 'defaults.__proto__: is not an option'],
    [
      'a verifier without algorithms',
      { routes: [], verifiers: { a: { issuer: 'a', audience: 'b', jwks: 'http://a' } } },
      'verifiers.a: jwtVerifier: algorithms is required',
    ],
    [
      'a verifier with an odd option',
      { routes: [], verifiers: { a: { isuer: 'a' } } },
      'verifiers.a: isuer is not an option here',
    ],
    [
      'an API key in the open',
      { routes: [], verifiers: { a: { apiKeys: { secret: {} } } } },
      'verifiers.a: apiKeys: keys must be named by hashes',
    ],
    ['a limiter without window', { routes: [], limiters: { a: { limit: 1 } } }, 'limiters.a: gcra: window must be'],
    [
      'a proto that is not there',
      { routes: [], transcoders: { a: { proto: 'none.proto', service: 'A', address: 'b:1' } } },
      'transcoders.a: transcode: proto cannot be read',
    ],
    ['services that are none', { routes: [], services: { a: ['nope://x'] } }, 'services: '],
  ])('refuses %s', async (_, config, message) => {
    const { err, done } = await run('check', config, { TEXT: 'x' })

    expect(await done).toBe(1)
    expect(err.join('\n')).toContain(message)
  })

  test.each([[[]], [['check']], [['run', 'a.json']], [['check', 'a', 'b']]])('explains itself for %j', async (args) => {
    const err: string[] = []
    const io = {
      env: {},
      out: () => {},
      err: (text: string) => err.push(text),
      onSignal: () => () => {},
      isTerminal: false,
    }

    expect(await main(args, io)).toBe(2)
    expect(err[0]).toContain('msx-gateway check <config.json>')
  })
})

describe('start', () => {
  test('serves what the file says, with all that its routes name', async () => {
    const key = 'key-of-a-partner-1'
    const upstream = await startUpstream(echo)
    const { address } = await startOrders({
      GetOrder: (call: { request: object }, reply: (e: null, v: object) => void) => reply(null, call.request),
    } as never)
    const running = await run(
      'start',
      {
        listen,
        services: { 'user-service': ['${USERS}'] },
        verifiers: { partners: { apiKeys: { [hashApiKey(key)]: { sub: 'partner-1' } } } },
        limiters: { two: { limit: 2, window: 60_000 } },
        transcoders: { orders: { proto, service: 'Orders', address } },
        routes: [
          { path: '/users/:id', upstream: 'user-service', auth: 'partners', rateLimit: 'two' },
          { path: '/v1/orders/**', upstream: 'order-service', grpc: 'orders', auth: false },
        ],
      },
      { USERS: upstream.url },
    )
    const url = await urlOf(running)
    const ask = (path: string) => fetch(url + path, { headers: { 'x-api-key': key } })

    expect(await (await ask('/users/7')).json()).toMatchObject({
      url: '/users/7',
      headers: { 'x-user-id': 'partner-1' },
    })
    expect([(await fetch(`${url}/users/7`)).status, (await ask('/users/7')).status]).toEqual([401, 429])
    expect(await (await ask('/v1/orders/o1')).json()).toMatchObject({ orderId: 'o1' })
    await expect
      .poll(() => running.out.at(-1))
      .toMatch(/^\d\d:\d\d:\d\d\.\d{3} {2}200 {2}GET {5}\/v1\/orders\/o1 {2}[\d.]+ ms {2}-> grpc:/)
  })

  test('takes a changed file, keeps what did not change, and says what did', async () => {
    const upstream = await startUpstream(echo)
    const routes = [{ path: '/a', upstream: upstream.url, rateLimit: 'one' }]
    const config = { listen, limiters: { one: { limit: 1, window: 60_000 } }, routes }
    const running = await run('start', config)
    const url = await urlOf(running)
    const first = await fetch(`${url}/a`)

    await running.write({ ...config, routes: [...routes, { path: '/b', upstream: upstream.url }] })
    await expect
      .poll(() => running.out.join('\n'), { timeout: 5_000 })
      .toContain('config.json is in force:\n  + route /b')

    // The limiter of /a is the one it was.
    expect([first.status, (await fetch(`${url}/b`)).status, (await fetch(`${url}/a`)).status]).toEqual([200, 200, 429])

    await running.write({
      ...config,
      limiters: { one: { limit: 2, window: 60_000 } },
      listen: { port: 0, host: '127.0.0.2' },
    })
    await expect
      .poll(() => running.out.join('\n'), { timeout: 5_000 })
      .toContain('  - route /b\n  ~ limiters.one\n  ~ listen')
    expect((await fetch(`${url}/a`)).status).toBe(200)
    expect(running.err).toEqual(['listen has changed: restart to listen there'])
  })

  test('keeps what it has when the new file is wrong, in whatever part', async () => {
    const upstream = await startUpstream(echo)
    const running = await run('start', { listen, routes: [{ path: '/a', upstream: upstream.url }] })
    const url = await urlOf(running)

    for (const wrong of [
      '{',
      { routes: [{ path: '/b', upstream: 'nobody', auth: 'nope' }] },
      { routes: [], limiters: { a: {} } },
    ]) {
      const before = running.err.length
      await running.write(wrong)
      await expect.poll(() => running.err.length, { timeout: 5_000 }).toBe(before + 1)
      expect(running.err.at(-1)).toContain('the config before it stays in force')
      expect((await fetch(`${url}/a`)).status).toBe(200)
    }
  })

  test('loads the file again at SIGHUP, and ends at SIGTERM', async () => {
    const running = await run('start', { listen, routes: [] })
    const url = await urlOf(running)

    running.signal('SIGHUP')
    await expect.poll(() => running.out.at(-1)).toBe('config.json is in force, unchanged')
    running.signal('SIGTERM')

    expect(await running.done).toBe(0)
    await expect(fetch(url)).rejects.toThrow()
  })

  test('is a program: it starts, hears signals, and ends', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'msx-gateway-'))
    onTestFinished(() => rm(folder, { recursive: true, force: true }))
    const file = join(folder, 'config.json')
    await writeFile(file, JSON.stringify({ listen, routes: [] }))
    const cli = fileURLToPath(new URL('../dist/cli.js', import.meta.url))

    const child = spawn(process.execPath, [cli, 'start', file], { stdio: ['ignore', 'pipe', 'inherit'] })
    onTestFinished(() => void child.kill('SIGKILL'))
    let out = ''
    child.stdout.on('data', (chunk) => {
      out += chunk
    })
    await expect.poll(() => out, { timeout: 10_000 }).toContain('msx-gateway listens on http://127.0.0.1:')
    child.kill('SIGHUP')
    await expect.poll(() => out).toContain('is in force, unchanged')
    child.kill('SIGTERM')

    expect(await new Promise((resolve) => child.on('exit', resolve))).toBe(0)
  })
})

test('the environment is written into texts, and numbers where they are wanted', () => {
  const text = '{"a":"x ${A} y ${B}","b":["${PORT:number}"],"c":"${A}${A}","d":"$A","e":1}'

  expect(parseConfig(text, { A: '1', B: '${A}', PORT: '8080' })).toEqual({
    a: 'x 1 y ${A}',
    b: [8080],
    c: '11',
    d: '$A',
    e: 1,
  })
})
