// Which servers there are, and where: four variables of the environment, each with a default on 127.0.0.1.

import { UsageError } from './errors.mjs'

/** @typedef {'rabbitmq' | 'postgres' | 'redis' | 'consul'} ServerName */

/**
 * A server and the address it is expected at.
 *
 * @typedef {object} Server
 * @property {ServerName} name
 * @property {string} title      How people call it.
 * @property {string} variable   The variable of the environment that holds its address.
 * @property {string} host       Without the brackets of IPv6.
 * @property {number} port
 * @property {boolean} tls
 * @property {boolean} loopback  On this machine: it may be started. Anything else is only probed.
 * @property {string} user
 * @property {string} password   Empty for none.
 * @property {string} database   Of PostgreSQL; of RabbitMQ, the virtual host.
 * @property {string} label      The address without its password, for people.
 */

/**
 * @type {Record<ServerName, {
 *   title: string, variable: string, address: string, ports: Record<string, number>,
 *   user?: string, password?: string, database?: string,
 * }>}
 */
const known = {
  rabbitmq: {
    title: 'RabbitMQ',
    variable: 'AMQP_URL',
    address: 'amqp://guest:guest@127.0.0.1:5672',
    ports: { 'amqp:': 5672, 'amqps:': 5671 },
    user: 'guest',
    password: 'guest',
    database: '/',
  },
  postgres: {
    title: 'PostgreSQL',
    variable: 'DATABASE_URL',
    address: 'postgres://postgres@127.0.0.1:5432/postgres',
    ports: { 'postgres:': 5432, 'postgresql:': 5432 },
    user: 'postgres',
  },
  redis: {
    title: 'Redis',
    variable: 'REDIS_URL',
    address: 'redis://127.0.0.1:6379',
    ports: { 'redis:': 6379, 'rediss:': 6379 },
  },
  consul: {
    title: 'Consul',
    variable: 'CONSUL_HTTP_ADDR',
    address: 'http://127.0.0.1:8500',
    ports: { 'http:': 80, 'https:': 443 },
  },
}

export const serverNames = /** @type {ServerName[]} */ (Object.keys(known))

/** @param {ServerName} name */
export const titleOf = (name) => known[name].title

/** For the help: each variable with its default. */
export const variables = Object.values(known).map(({ variable, address }) => ({ variable, address }))

/**
 * Reads names as people type them: `rabbitmq,consul`, several arguments, `postgresql` for `postgres`.
 *
 * @param {readonly string[]} words
 * @returns {ServerName[]} in the order of {@link serverNames}; all of them for no words at all
 */
export function selectServers(words) {
  if (words.length === 0) return serverNames

  const asked = words.flatMap((word) => word.split(',')).map((word) => word.trim().toLowerCase())
  const selected = new Set(asked.map((word) => (word === 'postgresql' ? 'postgres' : word)))
  for (const name of selected) {
    if (!Object.hasOwn(known, name)) {
      throw new UsageError(`There is no server called "${name}": expected ${serverNames.join(', ')}.`)
    }
  }
  return serverNames.filter((name) => selected.has(name))
}

/**
 * @param {ServerName} name
 * @param {NodeJS.ProcessEnv} env
 * @returns {Server}
 */
export function readAddress(name, env) {
  const { title, variable, address, ports, ...defaults } = known[name]
  const text = env[variable]?.trim() || address
  const parts = parse(name === 'consul' && !text.includes('://') ? `http://${text}` : text)

  const expected = `expected something like ${address}`
  // The text is not repeated: it may hold a password.
  if (parts === undefined) throw new UsageError(`${variable} is not an address: ${expected}.`)
  const { url, user = defaults.user ?? '', password = defaults.password ?? '' } = parts
  const standard = ports[url.protocol]
  if (standard === undefined) throw new UsageError(`${variable} begins with ${url.protocol}, ${expected}.`)
  if (url.hostname === '') throw new UsageError(`${variable} names no host: ${expected}.`)

  const host = url.hostname.replace(/^\[(.*)\]$/, '$1')
  const port = url.port === '' ? standard : Number(url.port)
  return {
    name,
    title,
    variable,
    host,
    port,
    tls: ['amqps:', 'rediss:', 'https:'].includes(url.protocol) || url.searchParams.get('sslmode') === 'require',
    loopback: host === 'localhost' || host === '::1' || /^127(\.\d+){3}$/.test(host),
    user,
    password,
    database: parts.path ?? defaults.database ?? user,
    label: `${url.protocol}//${url.hostname}:${port}`,
  }
}

/** @param {string} text */
function parse(text) {
  try {
    const url = new URL(text)
    const given = (part) => (part === '' ? undefined : decodeURIComponent(part))
    return { url, user: given(url.username), password: given(url.password), path: given(url.pathname.slice(1)) }
  } catch {
    return undefined
  }
}
