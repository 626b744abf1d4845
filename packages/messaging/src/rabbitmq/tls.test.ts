import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect as connectTcp, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createServer, type Server } from 'node:tls'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { createBus } from '../bus.js'
import { defineEvents } from '../catalogue.js'
import { type TestBroker, testBroker } from './fixture.js'
import type { SocketOptions } from './options.js'

const available = await testBroker()
const broker = available as TestBroker
const events = defineEvents({ 'thing.done': z.object({ n: z.number() }) })
const opened: { close(): Promise<unknown> }[] = []

describe.skipIf(available === undefined)('amqps', { timeout: 20_000 }, () => {
  let folder: string
  let line: TlsLine
  /** What is trusted, and who the client is. */
  let socket: SocketOptions

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'msx-tls-'))
    makeCertificates(folder)
    const file = (name: string): Buffer => readFileSync(join(folder, name))
    socket = { ca: [file('ca.crt')], cert: file('client.crt'), key: file('client.key'), servername: 'localhost' }
    line = await tlsTo(broker.url, { key: file('server.key'), cert: file('server.crt'), ca: file('ca.crt') })
  }, 30_000)
  afterEach(async () => {
    for (const thing of opened.splice(0)) await thing.close()
  })
  afterAll(async () => {
    await line.close()
    rmSync(folder, { recursive: true })
    await available?.close()
  })

  test('publishes and consumes with a CA and a client certificate, and again after the connection was lost', async () => {
    const bus = createBus({ events, transport: broker.transport({ url: line.url, socket }), source: 'tests' })
    opened.push(bus)
    const got: number[] = []
    let awaited = 0
    let arrived = (): void => {}
    const arrivalOf = (n: number): Promise<void> =>
      new Promise((resolve) => {
        awaited = n
        arrived = resolve
      })
    bus.subscribe(broker.name('tls'), 'thing.done', ({ data }) => {
      got.push(data.n)
      if (data.n === awaited) arrived()
    })

    const first = arrivalOf(1)
    await bus.publish('thing.done', { n: 1 })
    await first
    const second = arrivalOf(2)
    line.cut()
    await bus.publish('thing.done', { n: 2 })
    await second

    // The first one's acknowledgement may have been on its way.
    expect(new Set(got)).toEqual(new Set([1, 2]))
    expect(line.clients).toContain('order-service')
  })

  test.each<[string, (given: SocketOptions) => SocketOptions, RegExp]>([
    ['a server whose CA it does not trust', ({ ca: _, ...rest }) => rest, /self-signed|verify|certificate/i],
    ['a server of another name', (given) => ({ ...given, servername: 'elsewhere.test' }), /altnames|does not match/i],
    ['being sent away for want of a client certificate', ({ ca }) => ({ ca, servername: 'localhost' }), /./],
  ])('rejects %s', async (_, change, why) => {
    const transport = broker.transport({ url: line.url, socket: change(socket) })

    await expect(transport.connect({ name: 'tests' })).rejects.toMatchObject({
      code: 'MSX_CONNECTION_LOST',
      message: expect.stringMatching(why),
    })
  })
})

interface TlsLine {
  readonly url: string
  /** The common names of those who came. */
  readonly clients: readonly string[]
  cut(): void
  close(): Promise<void>
}

/** Speaks TLS with those who show a certificate of the CA, and plain AMQP with the broker. */
async function tlsTo(url: string, credentials: { key: Buffer; cert: Buffer; ca: Buffer }): Promise<TlsLine> {
  const target = new URL(url)
  const sockets = new Set<Socket>()
  const clients: string[] = []
  const server: Server = createServer({ ...credentials, requestCert: true, rejectUnauthorized: true }, (client) => {
    clients.push(String(client.getPeerCertificate().subject.CN))
    const plain = connectTcp(Number(target.port || 5672), target.hostname)
    sockets.add(client).add(plain)
    for (const [from, to] of [
      [client, plain],
      [plain, client],
    ] as const) {
      from.on('error', () => {})
      from.on('close', () => to.destroy())
      from.pipe(to)
    }
  })
  server.on('tlsClientError', () => {})
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  const own = new URL(url)
  own.protocol = 'amqps:'
  own.hostname = '127.0.0.1'
  own.port = String(port)

  return {
    url: own.href,
    clients,
    cut() {
      for (const each of sockets) each.destroy()
    },
    close() {
      for (const each of sockets) each.destroy()
      return new Promise((resolve) => server.close(() => resolve()))
    },
  }
}

const PROGRAM = 'openssl'

/** A CA, and a certificate of it for each end. */
function makeCertificates(folder: string): void {
  const openssl = (...args: string[]): void => {
    execFileSync(PROGRAM, args, { cwd: folder, stdio: 'pipe' })
  }
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  openssl('req', '-x509', ...key, '-keyout', 'ca.key', '-out', 'ca.crt', '-days', '2', '-subj', '/CN=tests-ca')
  for (const [name, subject] of [
    ['server', '/CN=localhost'],
    ['client', '/CN=order-service'],
  ] as const) {
    writeFileSync(join(folder, `${name}.ext`), 'subjectAltName=DNS:localhost\n')
    openssl('req', ...key, '-keyout', `${name}.key`, '-out', `${name}.csr`, '-subj', subject)
    const signed = ['-CA', 'ca.crt', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '2']
    openssl('x509', '-req', '-in', `${name}.csr`, '-out', `${name}.crt`, ...signed, '-extfile', `${name}.ext`)
  }
}
