import { createServer, type Server, type Socket } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { readAddress, serverNames } from './addresses.mjs'
import { probe } from './probes.mjs'

const variables = {
  rabbitmq: ['AMQP_URL', 'amqp://127.0.0.1'],
  postgres: ['DATABASE_URL', 'postgres://postgres@127.0.0.1'],
  redis: ['REDIS_URL', 'redis://127.0.0.1'],
  consul: ['CONSUL_HTTP_ADDR', 'http://127.0.0.1'],
} as const
type Name = keyof typeof variables

const listening: Server[] = []
afterEach(() => {
  for (const server of listening.splice(0)) server.close()
})

/** A port of this machine where every connection is handled so. */
async function listen(onConnection: (socket: Socket) => void): Promise<number> {
  const server = createServer((socket) => {
    socket.on('error', () => undefined)
    onConnection(socket)
  })
  listening.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return (server.address() as { port: number }).port
}

/** A port where the first words are answered so, a byte at a time when asked to. */
const answer = (bytes: Buffer | string, how: 'whole' | 'in bytes' = 'whole') =>
  listen((socket) => {
    socket.setNoDelay(true)
    socket.once('data', () => {
      if (how === 'whole') return void socket.write(bytes)
      for (const byte of Buffer.from(bytes)) socket.write(Buffer.from([byte]))
    })
  })

function ask(name: Name, port: number, timeout = 2_000) {
  const [variable, address] = variables[name]
  return probe(readAddress(name, { [variable]: `${address}:${port}` }), { timeout })
}

async function freedPort(): Promise<number> {
  const port = await listen(() => undefined)
  await new Promise((resolve) => listening.pop()?.close(resolve))
  return port
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

const message = (type: string, ...parts: (string | Buffer)[]) => {
  const body = Buffer.concat(parts.map((part) => Buffer.from(part as string)))
  return Buffer.concat([Buffer.from(type), int32(body.length + 4), body])
}

/** connection.start of AMQP 0-9-1, with one property of the server. */
function connectionStart(): Buffer {
  const property = Buffer.concat([Buffer.from('\x07versionS'), int32(6), Buffer.from('3.99.1')])
  const body = Buffer.concat([Buffer.from([0, 10, 0, 10, 0, 9]), int32(property.length), property])
  return Buffer.concat([Buffer.from([1, 0, 0]), int32(body.length), body, Buffer.from([0xce])])
}

const http = (body: string, status = '200 OK') =>
  `HTTP/1.1 ${status}\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`

const authenticated = Buffer.concat([
  message('R', int32(0)),
  message('S', 'server_version\x0016.3 (Debian)\0'),
  message('Z', 'I'),
])

const info = 'redis_version:7.9.9\r\n'

describe.each(serverNames as Name[])('%s', (name) => {
  test('is silent where nothing listens', async () => {
    expect(await ask(name, await freedPort())).toEqual({ state: 'silent', why: 'nothing listens' })
  })

  test('is not a server that answers every word with an HTTP error', async () => {
    const port = await answer(http('go away', '400 Bad Request'))

    const finding = await ask(name, port)

    expect(finding).toMatchObject({ state: 'foreign', why: expect.stringMatching(/HTTP\/1.1 400|400 "go away"/) })
  })

  test('is not one that greets like SSH', async () => {
    const port = await listen((socket) => socket.write('SSH-2.0-OpenSSH_9.2\r\n'))

    expect(await ask(name, port)).toMatchObject({ state: 'foreign', why: expect.stringContaining('SSH-2.0') })
  })

  test('is not one that closes the connection without a word', async () => {
    const port = await listen((socket) => socket.end())

    expect(await ask(name, port)).toMatchObject({ state: 'foreign', why: expect.stringMatching(/closed|hang up/) })
  })

  test('is not one that keeps quiet', async () => {
    const port = await listen(() => undefined)

    expect(await ask(name, port, 50)).toEqual({ state: 'foreign', why: 'it gave no answer within 50 ms' })
  })
})

test.each(['whole', 'in bytes'] as const)('hears an answer that arrives %s', async (how) => {
  expect(await ask('rabbitmq', await answer(connectionStart(), how))).toEqual({ state: 'answers', version: '3.99.1' })
  expect(await ask('postgres', await answer(authenticated, how))).toEqual({ state: 'answers', version: '16.3' })
  const pong = `+PONG\r\n$${info.length}\r\n${info}\r\n`
  expect(await ask('redis', await answer(pong, how))).toEqual({ state: 'answers', version: '7.9.9' })
})

test('RabbitMQ: a broker of another AMQP is another server', async () => {
  const port = await answer('AMQP\x00\x01\x00\x00')

  expect(await ask('rabbitmq', port)).toMatchObject({ state: 'foreign', why: expect.stringContaining('AMQP') })
})

test('PostgreSQL: not ready while it says that it starts up', async () => {
  const port = await answer(message('E', 'SFATAL\0C57P03\0Mthe database system is starting up\0\0'))

  expect(await ask('postgres', port)).toEqual({ state: 'starting', why: 'the database system is starting up' })
})

test.each([
  ['asks for a password that the address has not', message('R', int32(10), 'SCRAM-SHA-256\0\0'), /asks for a password/],
  ['has no such database', message('E', 'SFATAL\0C3D000\0Mdatabase "x" does not exist\0\0'), /does not exist/],
])('PostgreSQL: refuses when it %s', async (_, words, why) => {
  expect(await ask('postgres', await answer(words))).toMatchObject({
    state: 'refuses',
    why: expect.stringMatching(why),
  })
})

test('Redis: not ready while it loads its data, and refuses without its password', async () => {
  const loading = '-LOADING Redis is loading the dataset in memory\r\n'
  expect(await ask('redis', await answer(loading + loading))).toMatchObject({ state: 'starting' })

  const noauth = '-NOAUTH Authentication required.\r\n'
  expect(await ask('redis', await answer(noauth + noauth))).toMatchObject({ state: 'refuses' })
})

test('Consul: not ready until there is a leader', async () => {
  expect(await ask('consul', await answer(http('""')))).toEqual({ state: 'starting', why: 'it has no leader yet' })
  expect(await ask('consul', await answer(http('"127.0.0.1:8300"')))).toEqual({ state: 'answers' })
})

// The servers that the machine has: asked, never changed.
describe.each(serverNames as Name[])('the real %s', (name) => {
  test('answers with its version', async ({ skip }) => {
    const server = readAddress(name, process.env)
    const finding = await probe(server)
    if (finding.state === 'silent' && process.env['MSX_REQUIRE_SERVICES'] !== '1') {
      const why = `no ${server.title} at ${server.label}: \`scripts/services up ${name}\` starts one`
      console.warn(`\n  SKIPPED: ${why}\n`)
      skip(why)
    }

    expect(finding).toEqual({ state: 'answers', version: expect.stringMatching(/^\d+\.\d+/) })
  })
})
