// biome-ignore-all lint/suspicious/noTemplateCurlyInString: that is how a config names a variable
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdtemp, readFile, realpath, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, onTestFinished, test } from 'vitest'
import { echo, signalled, startTcp, startUpstream } from './internal/test-servers.js'

// The command as it is installed: a process, with a file, signals and an end.

const packageFolder = fileURLToPath(new URL('..', import.meta.url))
const cli = join(packageFolder, 'dist/cli.js')
const listen = { port: 0, host: '127.0.0.1' }

interface Program {
  readonly child: ChildProcess
  readonly file: string
  /** Everything it has said. */
  readonly said: () => string
  readonly exited: Promise<number | null>
  write(config: unknown): Promise<void>
}

async function start(
  config: unknown,
  {
    command = 'start',
    program = cli,
    runtime = [process.execPath],
    flags = [] as string[],
    env = {} as Record<string, string>,
  } = {},
): Promise<Program> {
  const folder = await mkdtemp(join(tmpdir(), 'msx-gateway-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  const file = join(folder, 'config.json')
  const write = (content: unknown): Promise<void> =>
    writeFile(file, typeof content === 'string' ? content : JSON.stringify(content))
  await write(config)

  // The runner of the tests sets NODE_PATH, by which everything would be found everywhere.
  const child = spawn(runtime[0]!, [...runtime.slice(1), ...flags, program, command, file], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, NODE_PATH: '', ...env },
  })
  onTestFinished(() => void child.kill('SIGKILL'))
  let text = ''
  const hear = (chunk: unknown): void => {
    text += chunk
  }
  child.stdout!.on('data', hear)
  child.stderr!.on('data', hear)
  const exited = once(child, 'close').then(([code]) => code as number | null)
  return { child, file, said: () => text, exited, write }
}

/** To the process within the one that was spawned. */
async function signalInner({ child: { pid } }: Program, signal: NodeJS.Signals): Promise<void> {
  process.kill(Number(await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')), signal)
}

/** One with a request under way that gets no answer; `cut` is what comes of it when the program ends. */
async function startBusy(options: Parameters<typeof start>[1]) {
  const asked = signalled()
  const upstream = await startUpstream(() => asked.fire())
  const config = { listen, shutdown: { timeout: 60_000 }, routes: [{ path: '/a', upstream: upstream.url }] }
  const program = await start(config, options)
  const url = await urlOf(program)
  const response = fetch(`${url}/a`).catch(() => 'cut')
  await asked.promise

  return { program, url, response }
}

/** Resolves when nobody listens there any more. */
async function closed(url: string): Promise<void> {
  const state = () =>
    fetch(url).then(
      () => 'listens',
      () => 'closed',
    )
  await expect.poll(state).toBe('closed')
}

async function urlOf({ said }: Program): Promise<string> {
  await expect.poll(said, { timeout: 20_000 }).toMatch(/listens on http/)
  return /listens on (\S+)/.exec(said())![1]!
}

describe('the program', { timeout: 30_000 }, () => {
  test('keeps the table it has when the file turns bad, and takes the next good one, at SIGHUP', async () => {
    const upstream = await startUpstream(echo)
    const program = await start({ listen, routes: [{ path: '/a', upstream: upstream.url }] })
    const url = await urlOf(program)

    await program.write('{ "routes": [')
    program.child.kill('SIGHUP')
    await expect.poll(program.said, { timeout: 10_000 }).toContain('the config before it stays in force')
    expect((await fetch(`${url}/a`)).status).toBe(200)

    await program.write({ listen, routes: [{ path: '/b', upstream: upstream.url }] })
    program.child.kill('SIGHUP')
    await expect.poll(program.said, { timeout: 10_000 }).toMatch(/is in force:\n {2}- route \/a\n {2}\+ route \/b/)
    expect([(await fetch(`${url}/a`)).status, (await fetch(`${url}/b`)).status]).toEqual([404, 200])
  })

  test('goes on, and says so once, when nobody reads its log any more', async () => {
    const upstream = await startUpstream(echo)
    const program = await start({ listen, routes: [{ path: '/a', upstream: upstream.url }] })
    const url = await urlOf(program)

    program.child.stdout!.destroy()
    expect((await fetch(`${url}/a`)).status).toBe(200)
    await expect.poll(program.said, { timeout: 10_000 }).toContain('standard output cannot be written')
    expect((await fetch(`${url}/a`)).status).toBe(200)
    program.child.kill('SIGTERM')

    expect(await program.exited).toBe(0)
    expect(program.said().match(/standard output cannot be written/g)).toHaveLength(1)
  })

  test('finishes what is under way at SIGTERM, says meanwhile that it is not ready, logs it all, and ends', async () => {
    const { upstream, asked, answer } = await startHolding()
    const program = await start({
      listen,
      health: { ready: '/ready' },
      shutdown: { delay: 2_000, timeout: 10_000 },
      routes: [{ path: '/a', upstream: upstream.url }],
    })
    const url = await urlOf(program)
    const ready = async (): Promise<number> => (await fetch(`${url}/ready`)).status
    expect(await ready()).toBe(200)

    const response = fetch(`${url}/a`)
    await asked.promise
    program.child.kill('SIGTERM')
    await expect.poll(ready).toBe(503)
    answer.fire()

    expect(await (await response).text()).toBe('whole')
    expect(await program.exited).toBe(0)
    await expect(fetch(url)).rejects.toThrow()
    const lines = program
      .said()
      .split('\n')
      .filter((line) => line.startsWith('{'))
    expect(lines.map((line) => JSON.parse(line))).toContainEqual(expect.objectContaining({ path: '/a', status: 200 }))
  })

  test('is not ended by a SIGHUP while it finishes what is under way', async () => {
    const { upstream, asked, answer } = await startHolding()
    const program = await start({
      listen,
      health: { ready: '/ready' },
      shutdown: { delay: 1_000 },
      routes: [{ path: '/a', upstream: upstream.url }],
    })
    const url = await urlOf(program)
    const response = fetch(`${url}/a`).then((one) => one.text())
    await asked.promise

    program.child.kill('SIGTERM')
    await expect.poll(async () => (await fetch(`${url}/ready`)).status).toBe(503)
    program.child.kill('SIGHUP')
    await expect.poll(async () => (await fetch(`${url}/ready`)).status).toBe(503)
    answer.fire()

    expect(await response).toBe('whole')
    expect(await program.exited).toBe(0)
  })

  test('is not ended by a SIGHUP before it listens, and loads the file again when it does', async () => {
    // It waits for a Redis that does not answer.
    const asked = signalled()
    const redis = (await startTcp(() => asked.fire())).replace('http:', 'redis:')
    const limiters = { shared: { store: 'redis', limit: 1, window: 1_000 } }
    const program = await start({ listen, redis, limiters, routes: [] })
    await asked.promise
    expect(program.said()).not.toContain('listens on')

    program.child.kill('SIGHUP')

    await urlOf(program)
    await expect.poll(program.said, { timeout: 10_000 }).toContain('is in force, unchanged')
  })

  test('is not ended by a SIGHUP while it loads itself, but is as long as it only checks', async () => {
    const hooks = join(await mkdtemp(join(tmpdir(), 'msx-hooks-')), 'hooks.mjs')
    onTestFinished(() => rm(dirname(hooks), { recursive: true, force: true }))
    await writeFile(hooks, hangsUpWhileLoading)

    const started = await start({ listen, routes: [] }, { flags: ['--import', hooks] })
    await urlOf(started)
    expect(started.said()).toContain('hung up')

    const checked = await start({ listen, routes: [] }, { command: 'check', flags: ['--import', hooks] })
    await checked.exited
    expect(checked.child.signalCode).toBe('SIGHUP')
  })

  test.each([
    ['', []],
    [', whoever else hears it', ['--import', "data:text/javascript,process.on('SIGTERM',()=>{})"]],
  ])('ends at a second signal without waiting any longer%s', async (_, flags) => {
    const { program, url, response } = await startBusy({ flags })

    program.child.kill('SIGTERM')
    await closed(url)
    program.child.kill('SIGTERM')

    await program.exited
    expect(program.child.signalCode).toBe('SIGTERM')
    expect(await response).toBe('cut')
  })

  // As in a container: what such a process does not hear does nothing to it.
  const asFirst = ['-Urpf', '--kill-child', process.execPath]
  const canBeFirst = spawnSync('unshare', [...asFirst, '-e', '']).status === 0
  if (!canBeFirst)
    console.warn('\n  SKIPPED: signals to the first process of a container: unshare is not there or may not\n')

  test.runIf(canBeFirst)(
    'ends at a second signal as the first process, too, and at one before it listens',
    async () => {
      const { program, url, response } = await startBusy({ runtime: ['unshare', ...asFirst] })

      await signalInner(program, 'SIGTERM')
      await closed(url)
      await signalInner(program, 'SIGINT')

      expect(await program.exited).toBe(130)
      expect(await response).toBe('cut')

      const waits = signalled()
      const redis = (await startTcp(() => waits.fire())).replace('http:', 'redis:')
      const limiters = { shared: { store: 'redis', limit: 1, window: 1_000 } }
      const early = await start({ listen, redis, limiters, routes: [] }, { runtime: ['unshare', ...asFirst] })
      await waits.promise
      await signalInner(early, 'SIGTERM')

      expect(await early.exited).toBe(143)
      expect(early.said()).not.toContain('listens on')
    },
  )

  test('writes no access log when it is to have none', async () => {
    const upstream = await startUpstream(echo)
    const program = await start({ listen, log: false, routes: [{ path: '/a', upstream: upstream.url }] })
    await fetch(`${await urlOf(program)}/a`)

    program.child.kill('SIGTERM')
    expect(await program.exited).toBe(0)
    expect(program.said().trim().split('\n')).toHaveLength(1)
  })

  test('traces with the SDK that the process has registered, and says so when there is none', async () => {
    const upstream = await startUpstream(echo)
    const config = { listen, log: false, opentelemetry: true, routes: [{ path: '/users/:id', upstream: upstream.url }] }
    const sdk = join(await mkdtemp(join(tmpdir(), 'msx-otel-')), 'sdk.mjs')
    await writeFile(sdk, registersSdk)
    const traced = await start(config, { flags: ['--import', sdk] })
    await fetch(`${await urlOf(traced)}/users/7`)
    await expect.poll(traced.said).toContain('span: GET /users/:id')
    expect(traced.said()).not.toContain('nothing takes the spans')

    const untraced = await start(config)
    await urlOf(untraced)
    expect(untraced.said()).toContain('opentelemetry is true, but nothing takes the spans')
  })
})

/** By their addresses: the file that imports them is in a folder of its own. */
const registersSdk = `
import { trace } from '${import.meta.resolve('@opentelemetry/api')}'
import { BasicTracerProvider, SimpleSpanProcessor } from '${import.meta.resolve('@opentelemetry/sdk-trace-base')}'

const exporter = {
  export(spans, done) {
    for (const { name } of spans) console.log('span: ' + name)
    done({ code: 0 })
  },
  shutdown: async () => {},
}
trace.setGlobalTracerProvider(new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }))
`

/** Sends the signal to its own process when the program asks for the first package that it depends on. */
const hangsUpWhileLoading = `
import { writeSync } from 'node:fs'
import { register } from 'node:module'
import { isMainThread } from 'node:worker_threads'

if (isMainThread) register(import.meta.url)
let sent = false
export async function resolve(specifier, context, next) {
  if (!sent && specifier === '@msx/discovery') {
    sent = true
    writeSync(1, 'hung up\\n')
    process.kill(process.pid, 'SIGHUP')
    await new Promise((done) => setTimeout(done, 100))
  }
  return next(specifier, context)
}
`

describe('without its optional packages', { timeout: 30_000 }, () => {
  /** The command in a folder where nothing is installed but what this package depends on. */
  async function installedAlone(): Promise<string> {
    const folder = await mkdtemp(join(tmpdir(), 'msx-cli-'))
    onTestFinished(() => rm(folder, { recursive: true, force: true }))
    const modules = join(folder, 'node_modules')
    const installed = join(modules, '@msx/gateway-kit')
    await cp(join(packageFolder, 'dist'), join(installed, 'dist'), { recursive: true })
    await cp(join(packageFolder, 'package.json'), join(installed, 'package.json'))
    const { dependencies } = JSON.parse(await readFile(join(packageFolder, 'package.json'), 'utf8')) as {
      dependencies: Record<string, string>
    }
    for (const name of Object.keys(dependencies)) {
      await symlink(await realpath(join(packageFolder, 'node_modules', name)), join(modules, name))
    }

    return join(installed, 'dist/cli.js')
  }

  test('the command serves what needs none of them, and names what is missing for the rest', async () => {
    const upstream = await startUpstream(echo)
    const program = await installedAlone()
    const plain = await start({ listen, routes: [{ path: '/a', upstream: upstream.url }] }, { program })
    expect((await fetch(`${await urlOf(plain)}/a`)).status).toBe(200)

    const wanting = await start(
      {
        listen,
        redis: 'redis://127.0.0.1:1',
        limiters: { a: { store: 'redis', limit: 1, window: 1_000 } },
        verifiers: { u: { issuer: 'a', audience: 'b', algorithms: ['ES256'], jwks: 'http://127.0.0.1:1' } },
        transcoders: { o: { proto: 'a.proto', service: 'A', address: '127.0.0.1:1' } },
        metrics: { port: 0 },
        opentelemetry: true,
        routes: [],
      },
      { command: 'check', program },
    )

    expect(await wanting.exited).toBe(1)
    for (const [place, name] of Object.entries({
      redis: 'ioredis',
      metrics: 'prom-client',
      opentelemetry: '@opentelemetry/api',
      'verifiers.u': 'jose',
      'transcoders.o': '@grpc/grpc-js',
    })) {
      expect(wanting.said()).toMatch(new RegExp(`^ {2}${place.replace('.', '\\.')}: .*npm install ${name}$`, 'm'))
    }
  })
})

/** An upstream that says when it is asked, and answers when it is told to. */
async function startHolding() {
  const asked = signalled()
  const answer = signalled()
  const upstream = await startUpstream(async (_, res) => {
    asked.fire()
    await answer.promise
    res.end('whole')
  })
  return { upstream, asked, answer }
}
