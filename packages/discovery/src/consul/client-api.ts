import { EventEmitter } from 'node:events'
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

/** What is used of a client of the npm package `consul` (^2.0): its plain calls, not its `watch`. */
export interface ConsulClient {
  readonly health: { service(options: object): Promise<unknown> }
  readonly agent: {
    readonly service: {
      list(options: object): Promise<unknown>
      register(options: object): Promise<unknown>
      deregister(options: object): Promise<unknown>
    }
    readonly check: { pass(options: object): Promise<unknown> }
  }
}

/** How a call of the client is called off, and asked for the headers of its answer. */
class CallContext extends EventEmitter {
  readonly includeResponse = true
}

/**
 * Consul by a client of the npm package `consul`: its address, agent and defaults (token, dc, …) hold. A deadline of our
 * own stands beside the client's, which waits for ever when a connection breaks in the middle of an answer.
 */
export class ClientApi implements ConsulApi {
  readonly #client: ConsulClient
  readonly #clock: Clock

  constructor(client: ConsulClient, clock: Clock) {
    this.#client = client
    this.#clock = clock
  }

  async health(question: HealthQuestion, signal: AbortSignal): Promise<HealthAnswer> {
    const { service, passing, tags, stale, dc, index, wait } = question
    const options = {
      service,
      ...(passing && { passing }),
      ...(tags.length > 0 && { tag: tags }),
      ...(stale && { stale }),
      ...(dc !== undefined && { dc }),
      ...(index !== undefined && { index: String(index), wait: goDuration(wait) }),
    }
    const answer = await this.#call((o) => this.#client.health.service(o), options, deadlineOf(question), signal)

    const [response, entries] = answer as [{ headers?: Record<string, string | undefined> } | undefined, unknown]
    const headers = response?.headers ?? {}
    return { index: headers['x-consul-index'], entries, filtered: isFiltered(headers) }
  }

  /** The client has no call for it; Consul 1.12 says so with each answer. */
  async mayRead(): Promise<boolean> {
    return true
  }

  async register(service: ServiceDefinition): Promise<void> {
    await this.#call((options) => this.#client.agent.service.register(options), service)
  }

  async deregister(id: string): Promise<void> {
    await this.#known(this.#call((options) => this.#client.agent.service.deregister(options), { id }))
  }

  async knows(id: string): Promise<boolean> {
    const answer = await this.#call((options) => this.#client.agent.service.list(options), {})
    const [, services] = answer as [unknown, Record<string, unknown> | undefined]
    return Object.hasOwn(services ?? {}, id)
  }

  pass(checkId: string): Promise<boolean> {
    return this.#known(this.#call((options) => this.#client.agent.check.pass(options), { id: checkId }))
  }

  async #known(call: Promise<unknown>): Promise<boolean> {
    try {
      await call
      return true
    } catch (error) {
      const { status, message } = error as RegistryError
      if (isUnknown(status, message)) return false
      throw error
    }
  }

  async #call(
    send: (options: object) => Promise<unknown>,
    options: object,
    deadline: number = ANSWER_DEADLINE,
    signal?: AbortSignal,
  ): Promise<unknown> {
    const ctx = new CallContext()
    let giveUp!: (reason: string) => void
    const givenUp = new Promise<never>((_, reject) => {
      giveUp = (reason) => {
        reject(new Error(reason))
        ctx.emit('cancel')
      }
    })
    const abort = () => giveUp('the question was called off')
    const cancelDeadline = schedule(this.#clock, deadline, () => giveUp(`no answer within ${deadline} ms`))
    signal?.addEventListener('abort', abort, { once: true })

    try {
      // The client's own limit, which may be below our `wait`, comes after ours.
      return await Promise.race([send({ ...options, ctx, timeout: deadline + 1_000 }), givenUp])
    } catch (cause) {
      throw toRegistryError(cause)
    } finally {
      cancelDeadline()
      signal?.removeEventListener('abort', abort)
    }
  }
}

function toRegistryError(cause: unknown): RegistryError {
  const { message, statusCode, response } = cause as {
    message?: string
    statusCode?: number
    response?: { body?: unknown }
  }
  const status = typeof statusCode === 'number' ? statusCode : undefined
  const body = response?.body
  const detail = typeof body === 'string' || Buffer.isBuffer(body) ? `: ${String(body).trim().slice(0, 200)}` : ''
  return new RegistryError(`The client of Consul failed: ${message}${detail}`, { cause, status })
}
