// biome-ignore-all lint/suspicious/noTemplateCurlyInString: that is how a config names a variable
import { appendFile, mkdir, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { hashApiKey } from './api-keys.js'
import { parseConfig } from './cli/config-text.js'
import { Issues } from './cli/issues.js'
import { main } from './cli/main.js'
import { listen, type Run, reload, run, urlOf } from './cli/testing.js'
import { proto, startOrders } from './grpc/testing/server.js'
import { echo, signalled, startTcp, startUpstream } from './internal/test-servers.js'

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
    ['services that are none', { routes: [], discovery: { static: { a: ['nope://x'] } } }, 'discovery.static: '],
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
      lines: { write: () => {} },
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
        discovery: { static: { 'user-service': ['${USERS}'] } },
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
    expect(running.err).toEqual(['listen has changed: that needs a restart'])
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

  test('asks for a restart as long as the file says another address than the one it listens on', async () => {
    const restarts = (): number => running.err.filter((text) => text.includes('needs a restart')).length
    const running = await run('start', { listen, routes: [] })
    const url = await urlOf(running)

    await reload(running, { listen: { ...listen, port: 1 }, routes: [] })
    expect(running.err).toEqual(['listen has changed: that needs a restart'])
    await reload(running, { listen: { ...listen, port: 1 }, health: { live: '/live' }, routes: [] })
    expect(restarts()).toBe(1)
    expect((await fetch(`${url}/live`)).status).toBe(200)

    await reload(running, { listen, routes: [] })
    expect(restarts()).toBe(1)
  })

  test('ends at a SIGTERM that comes as soon as it says that it listens', async () => {
    const running = await run(
      'start',
      { listen, routes: [] },
      {},
      async () => {},
      (text, signal) => {
        if (text.includes('listens on')) signal('SIGTERM')
      },
    )

    expect(await running.done).toBe(0)
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
})

describe('before it listens', { timeout: 20_000 }, () => {
  const inForce = (text: string): boolean => text.includes('is in force')

  test('SIGHUPs are remembered, and lead to one reload once it does', async () => {
    const running = await run('start', { listen, routes: [] })
    for (let sent = 0; sent < 3; sent += 1) running.signal('SIGHUP')
    await urlOf(running)
    await expect.poll(() => running.out.filter(inForce)).toEqual(['config.json is in force, unchanged'])
    running.signal('SIGHUP')
    await expect.poll(() => running.out.filter(inForce)).toHaveLength(2)
  })

  test.each([['with a SIGHUP'], ['without a SIGHUP']])('a change of the file is not lost, %s', async (how) => {
    // It waits for a Redis that does not answer, and has read the file by then.
    const asked = signalled()
    const redis = (await startTcp(() => asked.fire())).replace('http:', 'redis:')
    const config = (path: string): object => ({
      listen,
      redis,
      limiters: { shared: { store: 'redis', limit: 1, window: 1_000 } },
      routes: [{ path, upstream: 'http://127.0.0.1:1' }],
    })
    const running = await run('start', config('/a'))
    await asked.promise
    await running.write(config('/b'))
    if (how === 'with a SIGHUP') running.signal('SIGHUP')
    expect(running.out).toEqual([])

    await urlOf(running)

    await expect
      .poll(() => running.out.filter(inForce), { timeout: 10_000 })
      .toContain('config.json is in force:\n  - route /a\n  + route /b')
  })
})

describe('a change of the file is seen', () => {
  const config = (...paths: string[]): string =>
    JSON.stringify({ listen, routes: paths.map((path) => ({ path, upstream: 'http://127.0.0.1:1' })) })
  const replaced = 'config.json is in force:\n  - route /a\n  + route /b'
  const linked = (target: string) => async (file: string) => {
    await mkdir(dirname(join(dirname(file), target)), { recursive: true })
    await rename(file, join(dirname(file), target))
    await symlink(target, file)
  }

  test.each<[string, (file: string) => Promise<void>, (file: string, running: Run) => Promise<void>]>([
    [
      'where a mounted config map swaps the link to its folder',
      async (file) => {
        await linked('..data/config.json')(file)
        await rename(join(dirname(file), '..data'), join(dirname(file), '..1'))
        await symlink('..1', join(dirname(file), '..data'))
      },
      async (file) => {
        const folder = dirname(file)
        await mkdir(join(folder, '..2'))
        await writeFile(join(folder, '..2/config.json'), config('/b'))
        await symlink('..2', join(folder, '..new'))
        await rename(join(folder, '..new'), join(folder, '..data'))
      },
    ],
    [
      'where it is behind a link to another folder',
      linked('elsewhere/config.json'),
      (file) => writeFile(join(dirname(file), 'elsewhere/config.json'), config('/b')),
    ],
    [
      'where its folder is made anew',
      async () => {},
      async (file, { err }) => {
        await rm(dirname(file), { recursive: true })
        await expect.poll(() => err.join('\n'), { timeout: 5_000 }).toContain('ENOENT')
        await mkdir(dirname(file))
        await writeFile(file, config('/b'))
      },
    ],
  ])('%s', async (_, prepare, change) => {
    const running = await run('start', config('/a'), {}, prepare)
    await urlOf(running)

    await change(running.file, running)

    await expect.poll(() => running.out.join('\n'), { timeout: 10_000 }).toContain(replaced)
  })

  test('where another file in its folder changes all the time', async () => {
    const running = await run('start', config('/a'))
    await urlOf(running)
    const log = join(dirname(running.file), 'access.log')
    await running.write(config('/b'))

    await expect
      .poll(async () => appendFile(log, 'a line').then(() => running.out.join('\n')), { timeout: 5_000, interval: 10 })
      .toContain(replaced)
  })
})

test('what looks like a variable and is none is told of, without what it says', () => {
  for (const text of ['${NAME:-secret}', 'x ${my-name}', '${', '${A}${}']) {
    const issues = new Issues()
    parseConfig(JSON.stringify({ a: [text] }), { A: '1' }, issues)

    expect(issues.list).toEqual([{ path: 'a[0]', message: "has '${' that begins neither ${NAME} nor ${NAME:number}" }])
  }
})

test('the environment is written into texts, and numbers where they are wanted', () => {
  const text = '{"a":"x ${A} y ${B}","b":["${PORT:number}"],"c":"${A}${A}","d":"$A","e":1}'

  expect(parseConfig(text, { A: '1', B: '${A}', PORT: '8080' }, new Issues())).toEqual({
    a: 'x 1 y ${A}',
    b: [8080],
    c: '11',
    d: '$A',
    e: 1,
  })
})
