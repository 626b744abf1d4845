import * as http from 'node:http'
import * as https from 'node:https'
import { type Clock, schedule } from '../clock.js'
import { RegistryError } from '../errors.js'
import {
  ANSWER_DEADLINE,
  type ConsulApi,
  deadlineOf,
  goDuration,
  type HealthAnswer,
  type HealthQuestion,
  isFiltered,
  isUnknown,
  type ServiceDefinition,
} from './api.js'
import { type ConsulTls, checkToken, type TokenSource } from './credentials.js'

/** The longest answer that is read, in characters. Ten thousand instances take a quarter of it. */
const LONGEST_ANSWER = 64 * 2 ** 20

interface Call {
  readonly method: 'GET' | 'PUT'
  readonly path: string
  readonly body?: string
  readonly deadline?: number
  readonly signal?: AbortSignal
  /** Keeps no process alive. */
  readonly background?: boolean
}

interface Reply {
  readonly status: number
  readonly headers: http.IncomingHttpHeaders
  readonly text: string
}

/** What identifies a Consul and how to be let in. */
export interface HttpAddress {
  readonly url: URL
  readonly token: TokenSource | undefined
  readonly tls: ConsulTls | undefined
}

/**
 * Consul by its HTTP API.
 *
 * Not by fetch: its own limit on waiting for headers (five minutes) is below Consul's longest wait, certificates would
 * need the undici package, and its sockets cannot be told to keep no process alive.
 */
export class HttpApi implements ConsulApi {
  readonly #base: string
  readonly #origin: string
  readonly #token: TokenSource | undefined
  readonly #transport: typeof http | typeof https
  readonly #agent: http.Agent
  readonly #clock: Clock

  constructor({ url, token, tls }: HttpAddress, clock: Clock) {
    const secure = url.protocol === 'https:'
    this.#base = url.href.replace(/\/$/, '')
    this.#origin = url.origin
    this.#token = token
    this.#transport = secure ? https : http
    this.#agent = secure ? new https.Agent({ keepAlive: true, ...tls }) : new http.Agent({ keepAlive: true })
    this.#clock = clock
  }

  async health(question: HealthQuestion, signal: AbortSignal): Promise<HealthAnswer> {
    const path = `/v1/health/service/${encodeURIComponent(question.service)}?${queryOf(question)}`
    const call: Call = { method: 'GET', path, deadline: deadlineOf(question), signal, background: true }
    const { headers, text } = await this.#expectOk(call)
    const index = headers['x-consul-index']

    try {
      const entries = JSON.parse(text) as unknown
      return { index: typeof index === 'string' ? index : undefined, entries, filtered: isFiltered(headers) }
    } catch (cause) {
      throw new RegistryError(`${this.#name(call)} answered with what is no JSON: ${excerpt(text)}`, { cause })
    }
  }

  async mayRead(service: string, signal: AbortSignal): Promise<boolean> {
    // Unlike the list of instances, this is refused. Every other status, also that of an agent without it, is none.
    const path = `/v1/agent/health/service/name/${encodeURIComponent(service)}?format=text`
    const { status } = await this.#send({ method: 'GET', path, signal, background: true })
    return status !== 403
  }

  async register(service: ServiceDefinition): Promise<void> {
    // An instance of before that had other checks under the same id would keep them.
    const path = '/v1/agent/service/register?replace-existing-checks=true'
    await this.#expectOk({ method: 'PUT', path, body: JSON.stringify(service) })
  }

  async deregister(id: string): Promise<void> {
    await this.#expectKnown({ method: 'PUT', path: `/v1/agent/service/deregister/${encodeURIComponent(id)}` })
  }

  knows(id: string): Promise<boolean> {
    return this.#expectKnown({ method: 'GET', path: `/v1/agent/service/${encodeURIComponent(id)}` })
  }

  pass(checkId: string): Promise<boolean> {
    return this.#expectKnown({ method: 'PUT', path: `/v1/agent/check/pass/${encodeURIComponent(checkId)}` })
  }

  async #expectOk(call: Call): Promise<Reply> {
    const reply = await this.#send(call)
    if (reply.status === 200) return reply

    throw this.#refusal(call, reply)
  }

  async #expectKnown(call: Call): Promise<boolean> {
    const reply = await this.#send(call)
    if (reply.status === 200) return true
    if (isUnknown(reply.status, reply.text)) return false

    throw this.#refusal(call, reply)
  }

  async #send(call: Call): Promise<Reply> {
    try {
      return await this.#sendOnce(call, await this.#authorisation(call.signal))
    } catch (cause) {
      const reason = (cause as Error).message || (cause as NodeJS.ErrnoException).code
      throw new RegistryError(`${this.#name(call)} did not answer: ${reason}`, { cause })
    }
  }

  /** A token may have a lease: a function is asked each time. It may be the one that is never heard of again. */
  async #authorisation(signal: AbortSignal | undefined): Promise<Record<string, string>> {
    const token =
      typeof this.#token === 'function' ? checkToken(await this.#inTime(this.#token(), signal)) : this.#token
    return token === undefined ? {} : { 'x-consul-token': token }
  }

  #inTime(token: string | Promise<string>, signal: AbortSignal | undefined): Promise<string> | string {
    if (typeof token === 'string') return token

    return new Promise<string>((resolve, reject) => {
      const giveUp = (reason: string) => {
        settle()
        reject(new Error(reason))
      }
      const abort = () => giveUp('the question was called off')
      const late = () => giveUp(`the token did not come within ${ANSWER_DEADLINE} ms`)
      const cancelDeadline = schedule(this.#clock, ANSWER_DEADLINE, late)
      const settle = () => {
        cancelDeadline()
        signal?.removeEventListener('abort', abort)
      }
      signal?.addEventListener('abort', abort, { once: true })
      if (signal?.aborted) abort()
      Promise.resolve(token).finally(settle).then(resolve, reject)
    })
  }

  #sendOnce(call: Call, authorisation: Readonly<Record<string, string>>): Promise<Reply> {
    const { method, path, body, deadline = ANSWER_DEADLINE, signal, background = false } = call
    const headers = body === undefined ? authorisation : { ...authorisation, 'content-type': 'application/json' }

    return new Promise((resolve, reject) => {
      signal?.throwIfAborted()
      const request = this.#transport.request(`${this.#base}${path}`, { method, headers, agent: this.#agent })

      let fault: Error | undefined
      const giveUp = (reason: string) => {
        fault = new Error(reason)
        request.destroy(fault)
      }
      const abort = () => giveUp('the question was called off')
      const cancelDeadline = schedule(this.#clock, deadline, () => giveUp(`no answer within ${deadline} ms`))
      signal?.addEventListener('abort', abort, { once: true })
      const settle = () => {
        cancelDeadline()
        signal?.removeEventListener('abort', abort)
      }

      if (background) request.once('socket', (socket) => socket.unref())
      request.once('response', (response) => {
        let text = ''
        response.setEncoding('utf8')
        response.on('data', (chunk: string) => {
          if (text.length + chunk.length > LONGEST_ANSWER) giveUp(`an answer of more than ${LONGEST_ANSWER} characters`)
          else text += chunk
        })
        response.once('error', (error) => request.destroy(error))
        response.once('end', () => {
          settle()
          resolve({ status: response.statusCode ?? 0, headers: response.headers, text })
        })
      })
      request.once('error', (error: NodeJS.ErrnoException) => {
        settle()
        // An idle connection that Consul closed just as it was used again. Everything asked here can be asked twice.
        const wentStale = request.reusedSocket && (error.code === 'ECONNRESET' || error.code === 'EPIPE')
        if (wentStale && fault === undefined) resolve(this.#sendOnce(call, authorisation))
        else reject(fault ?? error)
      })
      request.once('close', () => {
        settle()
        reject(fault ?? new Error('the connection was closed in the middle of the answer'))
      })
      request.end(body)
    })
  }

  #refusal(call: Call, { status, text }: Reply): RegistryError {
    return new RegistryError(`${this.#name(call)} was refused with status ${status}: ${excerpt(text)}`, { status })
  }

  #name({ method, path }: Call): string {
    return `Consul at ${this.#origin}: ${method} ${path.replace(/\?.*/, '')}`
  }
}

function queryOf({ passing, tags, stale, dc, index, wait }: HealthQuestion): URLSearchParams {
  const query = new URLSearchParams()
  if (passing) query.set('passing', 'true')
  for (const tag of tags) query.append('tag', tag)
  if (stale) query.set('stale', 'true')
  if (dc !== undefined) query.set('dc', dc)
  if (index !== undefined) {
    query.set('index', String(index))
    query.set('wait', goDuration(wait))
  }
  return query
}

function excerpt(text: string): string {
  const line = text.trim().replace(/\s+/g, ' ')
  return line.length > 200 ? `${line.slice(0, 200)}…` : line || 'no text'
}
