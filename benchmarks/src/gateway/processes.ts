import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Running } from './gateways.js'
import { fieldsOf } from './interference.js'
import type { Times } from './paced.js'

/** The gateway has this core to itself; the load and the upstream share the other one. */
const GATEWAY_CORE = '1'
const OTHER_CORE = '0'

/** A process that was started here, and what it told of itself. */
export interface Started extends Running {
  /** Milliseconds of processor time that it has had so far. */
  cpu(): number
  stop(): Promise<void>
}

export interface StartedGateway extends Started {
  /** Has V8 collect everything. */
  collect(): Promise<void>
}

export interface Backend extends Started {
  /** How many requests it has answered. */
  asked(): Promise<number>
}

/** Whether a program is to be had. */
export function has(program: string): boolean {
  try {
    execFileSync('which', [program], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

const beside = (name: string): string => fileURLToPath(new URL(name, import.meta.url))

export async function startBackend(): Promise<Backend> {
  const child = pinned(OTHER_CORE, process.execPath, [beside('gateway-backend.js')])
  const running = await introduced(child)

  return {
    ...started(child, running),
    async asked() {
      child.send('asked')
      const [count] = (await once(child, 'message')) as [number]
      return count
    },
  }
}

/** Flags for Node, such as `--cpu-prof --cpu-prof-dir=/tmp/profiles`. */
const FLAGS = (process.env['GATEWAY_FLAGS'] ?? '').split(' ').filter((flag) => flag !== '')

export async function startGateway(name: string, upstream: string): Promise<StartedGateway> {
  const child = pinned(GATEWAY_CORE, process.execPath, [...FLAGS, beside('gateway-process.js'), name, upstream])

  return {
    ...started(child, await introduced(child)),
    async collect() {
      child.send('collect')
      await once(child, 'message')
    },
  }
}

/** One worker without a log, with as many connections kept open as a load of some fifty needs. */
export async function startNginx(upstream: string): Promise<Started> {
  const folder = mkdtempSync(join(tmpdir(), 'msx-nginx-'))
  const port = await freePort()
  writeFileSync(
    join(folder, 'nginx.conf'),
    `worker_processes 1;
daemon off;
master_process off;
pid ${folder}/pid;
error_log ${folder}/error.log;
events { worker_connections 4096; }
http {
  access_log off;
  client_body_temp_path ${folder}/body;
  proxy_temp_path ${folder}/proxy;
  fastcgi_temp_path ${folder}/fastcgi;
  uwsgi_temp_path ${folder}/uwsgi;
  scgi_temp_path ${folder}/scgi;
  keepalive_requests 1000000000;
  upstream backend { server ${upstream.replace('http://', '')}; keepalive 128; keepalive_requests 1000000000; }
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://backend;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header X-Forwarded-For $remote_addr;
    }
  }
}
`,
  )
  const child = pinned(GATEWAY_CORE, 'nginx', ['-p', folder, '-c', join(folder, 'nginx.conf')], false)
  child.once('exit', () => rmSync(folder, { recursive: true, force: true }))
  await accepting(port)

  return started(child, { port })
}

export interface Pacer {
  /** So many requests a second for so many milliseconds. */
  load(port: number, token: string | undefined, rate: number, ms: number): Promise<Times>
  stop(): Promise<void>
}

/** One process for all turns: a new one would still be compiling its own code while it measures others. */
export function startPacer(): Pacer {
  const child = pinned(OTHER_CORE, process.execPath, [beside('gateway-paced.js')])

  return {
    async load(port, token, rate, ms) {
      child.send({ port, token, rate, ms })
      const [told] = (await once(child, 'message')) as [Times | { failure: string }]
      if ('failure' in told) throw new Error(`port ${port}: ${told.failure}`)
      return told
    },
    stop: () => ended(child),
  }
}

/** Runs a program on the core of the load and resolves with what it wrote. */
export async function runLoad(program: string, args: readonly string[]): Promise<string> {
  const child = spawn('taskset', ['-c', OTHER_CORE, program, ...args], { stdio: ['ignore', 'pipe', 'inherit'] })
  let text = ''
  child.stdout.on('data', (chunk) => {
    text += chunk
  })
  const [code] = (await once(child, 'close')) as [number | null]
  if (code !== 0) throw new Error(`${program} ended with ${code}: ${text}`)

  return text
}

function pinned(core: string, program: string, args: readonly string[], talks = true): ChildProcess {
  return spawn('taskset', ['-c', core, program, ...args], {
    stdio: ['ignore', 'inherit', 'inherit', ...(talks ? (['ipc'] as const) : [])],
  })
}

async function introduced(child: ChildProcess): Promise<Running> {
  const exited = once(child, 'exit').then(([code]) => {
    throw new Error(`a process ended with ${code} before it listened`)
  })
  const [running] = (await Promise.race([once(child, 'message'), exited])) as [Running]
  exited.catch(() => {})

  return running
}

function started(child: ChildProcess, running: Running): Started {
  return {
    ...running,
    cpu() {
      const [user, system] = fieldsOf(child.pid!)!.slice(11, 13).map(Number) as [number, number]
      return (user + system) * 10
    },
    stop: () => ended(child),
  }
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return

  const gone = once(child, 'exit')
  // Node writes a profile when it exits by itself, and not when it is killed.
  if (child.connected) child.disconnect()
  else child.kill()
  await gone
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  server.close()
  await once(server, 'close')

  return port
}

async function accepting(port: number): Promise<void> {
  for (let left = 100; ; left -= 1) {
    const socket = connect(port, '127.0.0.1')
    try {
      await once(socket, 'connect')
      socket.destroy()
      return
    } catch (error) {
      if (left === 0) throw error
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }
}
