// How each server is started as a process of our own: on 127.0.0.1 only, with its own folder, and out of the way of
// whatever the machine runs itself.

import { execFile } from 'node:child_process'
import { copyFileSync, existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { Failure } from './errors.mjs'
import { mayEnter } from './place.mjs'

/**
 * @typedef {import('./addresses.mjs').Server} Server
 * @typedef {import('./place.mjs').Place} Place
 * @typedef {{ command: string, args: string[], env?: Record<string, string | undefined> }} Launch
 */

/**
 * @typedef {object} Recipe
 * @property {number} patience          How long it may take until it answers, in ms, on a busy machine.
 * @property {NodeJS.Signals} signal    What makes it end without waiting for its clients.
 * @property {(server: Server, place: Place, programs: Record<string, string>) => Promise<Launch[]>} prepare
 *   The processes to start, in order.
 */

/** @type {Record<Server['name'], Recipe>} */
export const recipes = {
  rabbitmq: { patience: 120_000, signal: 'SIGTERM', prepare: prepareRabbitMQ },
  postgres: { patience: 60_000, signal: 'SIGINT', prepare: preparePostgres },
  redis: { patience: 20_000, signal: 'SIGTERM', prepare: prepareRedis },
  consul: { patience: 60_000, signal: 'SIGTERM', prepare: prepareConsul },
}

/**
 * Nodes of Erlang find each other through a daemon, epmd. Ours has its own: a node that registers with the machine's
 * would be in the way there, and one that registers with ours would be lost when ours stops.
 */
async function prepareRabbitMQ(server, { folder }, programs) {
  const epmdPort = await freePort(server.port + 20_001)
  const distributionPort = await freePort(server.port + 20_000)
  const file = (name) => join(folder, name)

  writeFileSync(file('enabled_plugins'), '[].\n')
  writeFileSync(
    file('rabbitmq.conf'),
    [
      `listeners.tcp.local = 127.0.0.1:${server.port}`,
      `default_user = ${server.user}`,
      `default_pass = ${server.password}`,
      `default_vhost = ${server.database}`,
      'log.console = true',
      'log.file = false',
      '',
    ].join('\n'),
  )

  const env = {
    ...without(/^(RABBITMQ|ERL)_/),
    HOME: folder,
    ERL_EPMD_ADDRESS: '127.0.0.1',
    ERL_EPMD_PORT: String(epmdPort),
    RABBITMQ_NODENAME: `msx-${server.port}@localhost`,
    RABBITMQ_DIST_PORT: String(distributionPort),
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
    NOTIFY_SOCKET: undefined,
  }
  return [
    { command: programs.epmd, args: ['-port', String(epmdPort), '-address', '127.0.0.1'], env },
    { command: programs.server, args: [], env },
  ]
}

async function preparePostgres(server, { folder, user }, programs) {
  const data = join(folder, 'data')
  const draft = join(folder, 'data.new')
  const env = { ...without(/^PG/), LC_ALL: 'C' }
  const options = { ...user, cwd: folder, env }

  if (!(await holdsDataOf(programs.server, data))) {
    for (const old of [data, draft]) rmSync(old, { recursive: true, force: true })
    const args = ['--pgdata', draft, '--username', server.user, '--auth', 'trust', '--encoding', 'UTF8', '--no-locale']
    await promisify(execFile)(programs.initdb, [...args, '--no-sync'], options).catch((cause) => {
      throw new Failure(`initdb failed: ${cause.stderr || cause.message}`, `See what is in ${folder}.`, { cause })
    })
    await createDatabase(programs.server, draft, server.database, options)
    // Half a cluster, left by an `up` that was interrupted, looks like a whole one: so it gets its name last.
    renameSync(draft, data)
  }

  const settings = {
    listen_addresses: '127.0.0.1',
    port: server.port,
    unix_socket_directories: '',
    max_connections: 200,
  }
  const args = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
  return [{ command: programs.server, args: ['-D', data, ...args], env }]
}

/** A folder made by another major version cannot be opened; what it holds is for tests and demos only. */
async function holdsDataOf(program, data) {
  const file = join(data, 'PG_VERSION')
  if (!existsSync(file)) return false

  const { stdout } = await promisify(execFile)(program, ['--version'])
  return stdout.includes(` ${readFileSync(file, 'utf8').trim()}.`)
}

/** In single-user mode, before anybody can connect. */
async function createDatabase(program, data, database, options) {
  if (database === 'postgres') return

  const running = promisify(execFile)(program, ['--single', '-D', data, 'postgres'], options)
  running.child.stdin?.end(`CREATE DATABASE "${database.replaceAll('"', '""')}"\n`)
  await running
}

async function prepareRedis(server, { folder }, programs) {
  if (server.password !== '') {
    throw new Failure(
      `${server.variable} has a password, and the Redis that is started here has none.`,
      `Take the password out of ${server.variable}, or start that Redis yourself.`,
    )
  }
  const options = { port: server.port, bind: '127.0.0.1', dir: folder, save: '', appendonly: 'no', daemonize: 'no' }
  return [
    {
      command: programs.server,
      args: Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)]),
    },
  ]
}

/** One agent in development mode: a leader within a second, everything in memory. */
async function prepareConsul(server, { folder, user }, programs) {
  let command = programs.server
  if (user !== undefined && !mayEnter(user, command)) {
    command = join(folder, 'consul')
    copyFileSync(programs.server, command)
  }
  const { stdout } = await promisify(execFile)(command, ['version'])
  const [, major, minor] = (/v(\d+)\.(\d+)/.exec(stdout) ?? []).map(Number)
  const isOld = major === 1 && minor !== undefined && minor < 9

  // The standard ports go with the standard address, and are left free by every other.
  const first = server.port === 8500 ? 8300 : server.port + 101
  const ports = {
    dns: await freePort(server.port + 100),
    server: await freePort(first),
    serf_lan: await freePort(first + 1),
    serf_wan: await freePort(first + 2),
    grpc: -1,
    ...(isOld ? {} : { grpc_tls: -1 }),
  }
  writeFileSync(
    join(folder, 'agent.json'),
    JSON.stringify({
      ports: { ...ports, http: server.port },
      ...(isOld ? { ui: false } : { ui_config: { enabled: false } }),
      disable_update_check: true,
    }),
  )
  const loopback = ['-bind', '127.0.0.1', '-client', '127.0.0.1']
  return [
    {
      command,
      args: ['agent', '-dev', ...loopback, '-node', `msx-${server.port}`, '-config-file', join(folder, 'agent.json')],
      env: without(/^CONSUL_/),
    },
  ]
}

/** The environment but for what a server would take for settings. */
function without(pattern) {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !pattern.test(name)))
}

/**
 * The wished port where it is free on 127.0.0.1, else one that the system picks.
 *
 * @param {number} wished
 * @returns {Promise<number>}
 */
export async function freePort(wished) {
  return wished > 1023 && wished < 65536 ? ((await tryPort(wished)) ?? tryPort(0)) : tryPort(0)
}

function tryPort(port) {
  return new Promise((resolve, reject) => {
    const listener = net.createServer()
    listener.once('error', (error) => (error.code === 'EADDRINUSE' ? resolve(undefined) : reject(error)))
    listener.listen(port, '127.0.0.1', () => {
      const taken = listener.address().port
      listener.close(() => resolve(taken))
    })
  })
}
