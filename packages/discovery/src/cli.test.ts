import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { describe, expect, it, onTestFinished } from 'vitest'
import { main } from './cli/main.js'
import { asJson, asText } from './cli/report.js'
import { ConsulHand, sharedConsul } from './consul/test-consul.js'
import { TestDnsServer } from './dns/test-dns-server.js'
import { toEndpoint } from './endpoint.js'

const consulUrl = await sharedConsul()

/** The built command in a process of its own. */
class Running {
  readonly child: ChildProcess
  readonly #lines: AsyncIterator<string>

  constructor(...argv: string[]) {
    const file = fileURLToPath(new URL('../dist/cli.js', import.meta.url))
    this.child = spawn(process.execPath, [file, ...argv], { stdio: ['ignore', 'pipe', 'inherit'] })
    this.#lines = createInterface({ input: this.child.stdout! })[Symbol.asyncIterator]() // a pipe, as asked for
    onTestFinished(() => void this.child.kill('SIGKILL'))
  }

  async line(): Promise<string> {
    const { value, done } = await this.#lines.next()
    if (done) throw new Error('It has ended')
    return value
  }

  async json(): Promise<Record<string, unknown>> {
    return JSON.parse(await this.line()) as Record<string, unknown>
  }

  async interrupt(): Promise<number | null> {
    this.child.kill('SIGINT')
    const [code] = await once(this.child, 'exit')
    return code as number | null
  }
}

async function run(...argv: string[]) {
  const output: string[] = []
  const errors: string[] = []
  const out = (line: string) => void output.push(line)
  const err = (line: string) => void errors.push(line)
  const code = await main(argv, { env: {}, colour: false, out, err, signal: AbortSignal.abort() })
  return { code, output: output.join('\n'), errors: errors.join('\n') }
}

describe('asText and asJson', () => {
  it('show what would move the cursor, or make a line, and do not do it', () => {
    const endpoint = toEndpoint({
      id: 'u\x1b[2J\n12:00:00 users: 0 endpoints',
      host: '10.0.0.1',
      port: 80,
      tags: ['\x9b1m'],
    })
    const snapshot = { service: 'users', endpoints: [endpoint], version: 1, stale: false }
    const report = { event: 'change', service: 'users', snapshot, added: [endpoint], removed: [] } as const

    expect(asText(report, false).split('\n')).toEqual([
      expect.stringMatching(/ users: 1 endpoint$/),
      '  + http://10.0.0.1:80 (id u\\u001b[2J 12:00:00 users: 0 endpoints; tags \\u009b1m)',
    ])
    for (const control of ['\x1b', '\x9b', '\n']) expect(asJson(report)).not.toContain(control)
    expect(JSON.parse(asJson(report))).toMatchObject({ endpoints: [{ id: endpoint.id, tags: ['\x9b1m'] }] })
  })
})

describe('msx-discovery watch', () => {
  it('prints what DNS says, and who comes and goes, until it is interrupted', async () => {
    const server = await TestDnsServer.start({
      'users.test': [{ type: 'SRV', target: 'a.test', port: 3001, weight: 1 }],
      'a.test': [{ type: 'A', address: '10.0.0.1' }],
      'b.test': [{ type: 'A', address: '10.0.0.2' }],
    })
    onTestFinished(() => server.close())
    const running = new Running(
      'watch',
      'users',
      '--dns',
      'users.test',
      '--server',
      server.address,
      '--interval',
      '100',
    )

    expect(await running.line()).toMatch(/^\d\d:\d\d:\d\d users: 1 endpoint$/)
    expect(await running.line()).toMatch(/^ {2}\+ http:\/\/10\.0\.0\.1:3001/)
    server.zones.set('users.test', [{ type: 'SRV', target: 'b.test', port: 3002, weight: 1 }])
    expect(await running.line()).toMatch(/users: 1 endpoint$/)
    expect(await running.line()).toMatch(/^ {2}- http:\/\/10\.0\.0\.1:3001/)
    expect(await running.line()).toMatch(/^ {2}\+ http:\/\/10\.0\.0\.2:3002/)
    server.fail('SERVFAIL')
    expect(await running.line()).toMatch(/users: the source cannot be asked/)
    expect(await running.line()).toMatch(/error: .*ESERVFAIL/)

    expect(await running.interrupt()).toBe(0)
  }, 20_000)

  it.skipIf(consulUrl === undefined)(
    'prints what Consul says as JSON',
    async () => {
      const hand = new ConsulHand(consulUrl ?? '')
      const name = `cli-${process.pid}`
      onTestFinished(() => hand.set(name, []))
      await hand.set(name, [{ host: '127.0.0.1', port: 3001 }])
      const running = new Running('watch', name, '--consul', consulUrl ?? '', '--json')

      expect(await running.json()).toMatchObject({
        at: expect.stringMatching(/^\d{4}-/),
        event: 'change',
        service: name,
        version: 1,
        added: [`${name}-127.0.0.1-3001`],
        removed: [],
        endpoints: [{ host: '127.0.0.1', port: 3001 }],
      })
      await hand.set(name, [])
      expect(await running.json()).toMatchObject({ version: 2, removed: [`${name}-127.0.0.1-3001`], endpoints: [] })

      expect(await running.interrupt()).toBe(0)
    },
    20_000,
  )

  it('tells what it can when it is asked', async () => {
    expect(await run('--help')).toMatchObject({ code: 0, output: expect.stringMatching(/^Usage: msx-discovery watch/) })
  })

  it('ends at once when it was interrupted before it began', async () => {
    expect(await run('watch', 'x', '--dns', 'x.test')).toEqual({ code: 0, output: '', errors: '' })
  })

  it.each([
    ['', /nothing is no command/],
    ['list', /list is no command/],
    ['watch', /needs the name/],
    ['watch a b --dns x', /does not take b/],
    ['watch a', /one of --consul and --dns/],
    ['watch a --consul http://x --dns y', /one of --consul and --dns/],
    ['watch a --consul http://x --port 80', /--port has no meaning with --consul/],
    ['watch a --dns x --all', /--all has no meaning with --dns/],
    ['watch a --dns x --port http', /--port must be a number, got http/],
    ['watch a --dns x --server nobody', /servers/],
    ['watch a --consul x', /url must be/],
    ['watch a --colour', /--colour/],
  ])('does not understand "%s", and says why', async (line, message) => {
    const { code, output, errors } = await run(...line.split(' ').filter((word) => word !== ''))

    expect(code).toBe(2)
    expect(output).toBe('')
    expect(errors).toMatch(message)
    expect(errors).toMatch(/Usage:/)
  })
})
