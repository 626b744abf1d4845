import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { promisify } from 'node:util'
import { freePort } from './free-port.js'
import { kill } from './kill.js'

/** A RabbitMQ node that nobody else uses, so that it may be restarted, starved and killed. */
export interface OwnBroker {
  readonly url: string
  /** `application`: everybody is disconnected and what is written down is read again. `node`: killed without a warning. */
  restart(what: 'application' | 'node'): Promise<void>
  /** Kills the node without a warning; it is away until `up`. */
  down(): Promise<void>
  up(): Promise<void>
  /** Raises the memory alarm, so that publishers are blocked; calls `meanwhile`, and lifts it when that has settled. */
  starve(meanwhile: () => Promise<unknown>): Promise<void>
  stop(): Promise<void>
}

/** Where Debian has the programs themselves; those on the PATH insist on the machine's own node. */
const DEBIAN = '/usr/lib/rabbitmq/bin'

/** A name that has to be encoded in a URL. */
const VHOST = 'msx/soak'

/** In bytes. */
export const LARGEST_MESSAGE = 1_000_000

/** How long a node may take to start on a busy machine, in ms. */
const PATIENCE = 90_000

/** How often it is looked whether something has happened, in ms. */
const POLL = 50

/** Why no node can be started here; undefined when one can. */
export function missingPrograms(): string | undefined {
  const missing = ['rabbitmq-server', 'rabbitmqctl', 'epmd'].filter((name) => program(name) === undefined)

  return missing.length === 0 ? undefined : `no ${missing.join(', ')} on this machine: apt-get install rabbitmq-server`
}

export async function startOwnBroker(): Promise<OwnBroker> {
  const folder = await mkdtemp(join(tmpdir(), 'msx-own-broker-'))
  const [port, distribution, epmdPort] = await Promise.all([freePort(), freePort(), freePort()])
  const url = `amqp://guest:guest@127.0.0.1:${port}/${encodeURIComponent(VHOST)}`
  const env = await prepare(folder, port, distribution, epmdPort)
  const epmd = spawn(programOf('epmd'), ['-port', String(epmdPort), '-address', '127.0.0.1'], { env, stdio: 'ignore' })
  let server = launch(env)

  const control = async (...args: string[]): Promise<void> => {
    await promisify(execFile)(programOf('rabbitmqctl'), args, { env, timeout: PATIENCE })
  }

  const broker: OwnBroker = {
    url,

    async restart(what) {
      if (what === 'node') {
        await broker.down()
        return broker.up()
      }
      await control('eval', 'rabbit:stop(), rabbit:start().')
      await answering(port, server)
    },

    down: () => kill(server),

    async up() {
      server = launch(env)
      await answering(port, server)
    },

    async starve(meanwhile) {
      const sign = join(folder, 'starving')
      let hasEnded = false
      const command = control('eval', starvation(sign)).finally(() => {
        hasEnded = true
      })
      const working = (async () => {
        while (!existsSync(sign)) {
          if (hasEnded) return
          await wait(POLL)
        }
        try {
          await meanwhile()
        } finally {
          await rm(sign)
        }
      })()
      await Promise.all([working, command])
    },

    async stop() {
      await kill(server)
      await kill(epmd)
      await rm(folder, { recursive: true, force: true })
    },
  }

  try {
    await answering(port, server)
  } catch (error) {
    await broker.stop()
    throw error
  }
  return broker
}

/**
 * One command for both, since each takes seconds to start: the file is there once the alarm is raised, and the alarm is
 * lifted when it is gone.
 */
function starvation(sign: string): string {
  const file = JSON.stringify(sign)
  const set = (share: number): string => `vm_memory_monitor:set_vm_memory_high_watermark(${share.toFixed(9)})`
  const isThere = `filelib:is_regular(${file})`
  const lasting = `(fun Wait() -> case ${isThere} of true -> timer:sleep(${POLL}), Wait(); false -> ok end end)()`

  return `${set(1e-7)}, ok = file:write_file(${file}, ""), ${lasting}, ${set(0.4)}.`
}

/** What Debian's own start script would read from /etc is set here, so that this node knows nothing of the machine's. */
async function prepare(folder: string, port: number, distribution: number, epmd: number): Promise<NodeJS.ProcessEnv> {
  const file = (name: string): string => join(folder, name)
  await mkdir(file('data'))
  await writeFile(file('enabled_plugins'), '[].\n')
  await writeFile(
    file('rabbitmq.conf'),
    [
      `listeners.tcp.local = 127.0.0.1:${port}`,
      `default_vhost = ${VHOST}`,
      `max_message_size = ${LARGEST_MESSAGE}`,
      'log.console = true',
      'log.file = false',
      '',
    ].join('\n'),
  )

  return {
    PATH: process.env['PATH'],
    HOME: folder,
    ERL_EPMD_ADDRESS: '127.0.0.1',
    ERL_EPMD_PORT: String(epmd),
    RABBITMQ_NODENAME: `msx-own-${port}@localhost`,
    RABBITMQ_DIST_PORT: String(distribution),
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: '-kernel inet_dist_use_interface {127,0,0,1}',
    RABBITMQ_CONF_ENV_FILE: '/dev/null',
    RABBITMQ_CONFIG_FILE: file('rabbitmq.conf'),
    RABBITMQ_ADVANCED_CONFIG_FILE: file('advanced.config'),
    RABBITMQ_ENABLED_PLUGINS_FILE: file('enabled_plugins'),
    RABBITMQ_MNESIA_BASE: file('data'),
    RABBITMQ_LOG_BASE: file('log'),
    RABBITMQ_LOGS: '-',
    RABBITMQ_PID_FILE: file('rabbitmq.pid'),
    RABBITMQ_GENERATED_CONFIG_DIR: file('config'),
    // Makes the script become the server, rather than stay as its parent.
    RUNNING_UNDER_SYSTEMD: 'true',
  }
}

function launch(env: NodeJS.ProcessEnv): ChildProcess {
  return spawn(programOf('rabbitmq-server'), [], { env, stdio: 'ignore' })
}

async function answering(port: number, server: ChildProcess): Promise<void> {
  const deadline = performance.now() + PATIENCE
  while (!(await speaksAmqp(port))) {
    if (server.exitCode !== null) throw new Error(`the own RabbitMQ ended with code ${server.exitCode}`)
    if (performance.now() > deadline) throw new Error(`the own RabbitMQ does not answer on port ${port}`)
    await wait(100)
  }
}

/** A broker that takes connections answers the protocol's header with a frame of the method `connection.start`. */
function speaksAmqp(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => socket.write('AMQP\0\0\x09\x01'))
    const settle = (answer: boolean): void => {
      socket.destroy()
      resolve(answer)
    }
    socket.setTimeout(2_000, () => settle(false))
    socket.once('data', ([type]) => settle(type === 1))
    socket.once('error', () => settle(false))
    socket.once('close', () => settle(false))
  })
}

function program(name: string): string | undefined {
  const folders = [DEBIAN, ...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin']

  return folders.map((folder) => join(folder, name)).find(existsSync)
}

function programOf(name: string): string {
  return program(name) ?? name
}
