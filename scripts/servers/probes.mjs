// Who answers at an address? Each probe speaks the first words of its server's own protocol, because a port that
// accepts connections proves nothing: it may be held by another program, or by a server that is still starting.

import http from 'node:http'
import https from 'node:https'
import net from 'node:net'
import tls from 'node:tls'

/** @typedef {import('./addresses.mjs').Server} Server */

/**
 * - `answers`: it is the server, and it is ready
 * - `starting`: it is the server, not ready yet
 * - `refuses`: it is the server, and will not let this address in (a password, a database that does not exist)
 * - `silent`: nothing listens there
 * - `foreign`: something listens that is not this server
 *
 * @typedef {{ state: 'answers', version?: string }
 *   | { state: 'starting' | 'refuses' | 'silent' | 'foreign', why: string }} Finding
 */

/**
 * @param {Server} server
 * @param {{ timeout?: number }} [options] `timeout` in milliseconds, default 5000
 * @returns {Promise<Finding>}
 */
export function probe(server, { timeout = 5_000 } = {}) {
  return probes[server.name](server, timeout)
}

/** @type {Record<Server['name'], (server: Server, timeout: number) => Promise<Finding>>} */
const probes = { rabbitmq: probeRabbitMQ, postgres: probePostgres, redis: probeRedis, consul: probeConsul }

/** The protocol header of AMQP 0-9-1, which a broker answers with connection.start (class 10, method 10). */
function probeRabbitMQ(server, timeout) {
  return converse(server, timeout, {
    hello: Buffer.from('AMQP\0\0\x09\x01', 'latin1'),
    listen(heard) {
      if (!couldBegin(heard, '\x01\0\0')) return 'foreign'
      if (heard.length < 11) return undefined
      if (heard.readUInt16BE(7) !== 10 || heard.readUInt16BE(9) !== 10) return 'foreign'
      if (heard.length < 8 + heard.readUInt32BE(3)) return undefined

      return answers(longString(heard, 'version'))
    },
  })
}

/** A long string of the server's properties: the name as a short string, an S, a length, the text. */
function longString(frame, name) {
  const key = Buffer.from(`${String.fromCharCode(name.length)}${name}S`, 'latin1')
  const at = frame.indexOf(key)
  if (at === -1) return undefined

  const start = at + key.length + 4
  return frame.toString('utf8', start, start + frame.readUInt32BE(start - 4))
}

/** The start-up message of protocol 3.0, in the name of the address's user. */
function probePostgres(server, timeout) {
  return converse(server, timeout, {
    beforeTls: { request: withLength([int32(80877103)]), consent: 'S' },
    hello: withLength([int32(196608), Buffer.from(`user\0${server.user}\0database\0${server.database}\0\0`)]),
    goodbye: Buffer.from([0x58, 0, 0, 0, 4]),
    listen(heard) {
      if (!/^[RE]/.test(heard.toString('latin1', 0, 1))) return 'foreign'

      /** @type {string | undefined} */
      let version
      for (const { type, body } of postgresMessages(heard)) {
        if (type === 'E') return refusedByPostgres(body)
        if (type === 'R' && body.readUInt32BE(0) !== 0) {
          // It asks for a password. Whether a given one is right is for the clients to find out.
          const asked = `it asks for a password, and ${server.variable} has none`
          return server.password === '' ? { state: 'refuses', why: asked } : answers()
        }
        if (type === 'S') {
          const [name, value] = body.toString().split('\0')
          if (name === 'server_version') version = value?.split(' ')[0]
        }
        if (type === 'Z') return answers(version)
      }
      return heard.length > 64 * 1024 ? 'foreign' : undefined
    },
  })
}

function* postgresMessages(heard) {
  for (let at = 0; at + 5 <= heard.length; ) {
    const end = at + 1 + heard.readUInt32BE(at + 1)
    if (end > heard.length) return
    yield { type: heard.toString('latin1', at, at + 1), body: heard.subarray(at + 5, end) }
    at = end
  }
}

/** @returns {Finding} */
function refusedByPostgres(body) {
  const fields = body.toString().split('\0')
  const field = (letter) => fields.find((text) => text.startsWith(letter))?.slice(1)
  const why = field('M') ?? 'an error without a message'

  // 57P03 cannot_connect_now: starting up, shutting down or recovering.
  return { state: field('C') === '57P03' ? 'starting' : 'refuses', why }
}

/** AUTH when the address has a password, PING, and INFO for the version. */
function probeRedis(server, timeout) {
  const credentials = [server.user, server.password].filter((word) => word !== '')
  const auth = server.password === '' ? [] : [respCommand('AUTH', ...credentials)]

  return converse(server, timeout, {
    hello: Buffer.from([...auth, respCommand('PING'), respCommand('INFO', 'server')].join('')),
    listen(heard) {
      const text = heard.toString()
      if (!/^[+-]/.test(text)) return 'foreign'

      const error = /^-([A-Z]+ .*?)\r\n/m.exec(text)?.[1]
      if (error?.startsWith('LOADING')) return { state: 'starting', why: error }
      if (error !== undefined && /^(NOAUTH|WRONGPASS|NOPERM|DENIED|ERR)/.test(error)) {
        return text.includes('+PONG\r\n') ? answers() : { state: 'refuses', why: error }
      }
      const version = /^redis_version:(.*)\r\n/m.exec(text)?.[1]
      return text.includes('+PONG\r\n') && version !== undefined ? answers(version) : undefined
    },
  })
}

function respCommand(...words) {
  return `*${words.length}\r\n${words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join('')}`
}

/** An agent is ready once it knows a leader. */
async function probeConsul(server, timeout) {
  const leader = await get(server, '/v1/status/leader', timeout)
  if ('state' in leader) return leader

  if (leader.status !== 200 || !/^".*"$/.test(leader.body.trim())) {
    if (/no cluster leader|no known consul servers/i.test(leader.body)) return { state: 'starting', why: leader.body }
    return { state: 'foreign', why: `it answered ${leader.status} ${quote(leader.body)}` }
  }
  if (leader.body.trim() === '""') return { state: 'starting', why: 'it has no leader yet' }

  const self = await get(server, '/v1/agent/self', timeout)
  return answers('body' in self ? /"Version":\s*"([^"]+)"/.exec(self.body)?.[1] : undefined)
}

/** @returns {Promise<{ status: number, body: string } | Finding>} */
function get(server, path, timeout) {
  const options = {
    host: server.host,
    port: server.port,
    path,
    agent: false,
    rejectUnauthorized: false,
    signal: AbortSignal.timeout(timeout),
  }

  return new Promise((resolve) => {
    let connected = false
    const failed = (error) => resolve(lost(error, connected, timeout, error.rawPacket))
    const request = (server.tls ? https : http).get(options, (response) => {
      let body = ''
      response.setEncoding('utf8')
      response.on('data', (chunk) => {
        body += chunk
      })
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body }))
      response.on('error', failed)
    })
    request.on('socket', (socket) => {
      socket.once('connect', () => {
        connected = true
      })
    })
    request.on('error', failed)
  })
}

/**
 * Says hello and listens until `listen` makes sense of what it heard, or never will.
 *
 * @param {Server} server
 * @param {number} timeout
 * @param {{
 *   hello: Buffer,
 *   goodbye?: Buffer,
 *   beforeTls?: { request: Buffer, consent: string },
 *   listen: (heard: Buffer) => Finding | 'foreign' | undefined,
 * }} dialogue
 * @returns {Promise<Finding>}
 */
function converse(server, timeout, { hello, goodbye, beforeTls, listen }) {
  return new Promise((resolve) => {
    let connected = false
    let heard = Buffer.alloc(0)
    const tcp = net.connect({ host: server.host, port: server.port })
    /** @type {net.Socket} */
    let socket = tcp

    const settle = (finding) => {
      clearTimeout(timer)
      if (goodbye !== undefined && finding.state === 'answers') socket.end(goodbye)
      else socket.destroy()
      tcp.unref()
      resolve(finding)
    }
    const timer = setTimeout(() => settle(lost(new Error('timeout'), connected, timeout, heard)), timeout)
    const onError = (error) => settle(lost(error, connected, timeout, heard))
    const onClose = () => settle(lost(new Error('closed'), connected, timeout, heard))

    const talk = () => {
      socket.on('data', (chunk) => {
        heard = Buffer.concat([heard, chunk])
        const finding = listen(heard)
        if (finding === 'foreign') settle({ state: 'foreign', why: `it said ${quote(heard)}` })
        else if (finding !== undefined) settle(finding)
      })
      socket.write(hello)
    }
    const secure = () => {
      socket = tls.connect({ socket: tcp, host: server.host, rejectUnauthorized: false }, talk)
      socket.on('error', onError)
    }

    tcp.on('error', onError)
    tcp.on('close', onClose)
    tcp.once('connect', () => {
      connected = true
      if (!server.tls) return talk()
      if (beforeTls === undefined) return secure()

      tcp.write(beforeTls.request)
      tcp.once('data', (chunk) => {
        if (chunk.toString('latin1') === beforeTls.consent) return secure()
        settle({ state: chunk.toString('latin1') === 'N' ? 'refuses' : 'foreign', why: 'it does not speak TLS' })
      })
    })
  })
}

/**
 * What a connection that failed tells.
 *
 * @returns {Finding}
 */
function lost(error, connected, timeout, heard = Buffer.alloc(0)) {
  const timedOut = error.message === 'timeout' || error.name === 'TimeoutError' || error.name === 'AbortError'
  if (!connected) {
    if (timedOut) return { state: 'silent', why: `no connection within ${timeout} ms` }
    return { state: 'silent', why: error.code === 'ECONNREFUSED' ? 'nothing listens' : error.code || error.message }
  }

  const said = heard.length > 0 ? `it said ${quote(heard)} and` : 'it'
  if (timedOut) return { state: 'foreign', why: `${said} gave no answer within ${timeout} ms` }
  if (error.message === 'closed' || error.code === 'ECONNRESET' || error.code === 'EPIPE') {
    return { state: 'foreign', why: `${said} closed the connection` }
  }
  return { state: 'foreign', why: heard.length > 0 ? `it said ${quote(heard)}` : error.message }
}

/** @returns {Finding} */
function answers(version) {
  return version === undefined ? { state: 'answers' } : { state: 'answers', version }
}

/** Whether the bytes heard so far are, or may become, ones that begin so. */
function couldBegin(heard, prefix) {
  const length = Math.min(heard.length, prefix.length)
  return heard.toString('latin1', 0, length) === prefix.slice(0, length)
}

/** The first words of an answer, fit to print. */
function quote(text) {
  const line = text.toString('latin1').split('\n')[0] ?? ''
  const printable = line.replace(/[^\x20-\x7e]+/g, ' ').trim()
  return `"${printable.length > 60 ? `${printable.slice(0, 60)}…` : printable}"`
}

function withLength(parts) {
  const body = Buffer.concat(parts)
  return Buffer.concat([int32(body.length + 4), body])
}

function int32(value) {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}
