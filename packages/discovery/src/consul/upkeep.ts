import { exponential } from '@msx/retry'
import { type Clock, schedule } from '../clock.js'
import { Emitter } from '../internal/emitter.js'
import type { Registered, RegisteredEvents } from '../registry.js'
import type { ConsulApi, ServiceDefinition } from './api.js'

/**
 * How often, ms, the agent is asked whether it still knows the instance. An agent that restarts forgets it; with the time
 * a check needs, this stays below the ten seconds for which a discovery does not believe an empty list.
 */
const PERIOD = 2_000

export interface UpkeepContext {
  readonly api: ConsulApi
  readonly clock: Clock
  readonly random: () => number
  /** Milliseconds; undefined when Consul checks the instance itself, or nobody does. */
  readonly ttl: number | undefined
}

/** Keeps an instance registered: reports its TTL check, and registers it again when the agent has forgotten it. */
export class Upkeep implements Registered {
  readonly id: string
  readonly #service: ServiceDefinition
  readonly #context: UpkeepContext
  readonly #events = new Emitter<RegisteredEvents>()
  readonly #period: number
  readonly #backoff: ReturnType<typeof exponential>
  #cancelNext: () => void = () => {}
  #round: Promise<void> | undefined
  #failures = 0
  #ended = false
  #leaving: Promise<void> | undefined

  constructor(service: ServiceDefinition, context: UpkeepContext) {
    this.id = service.ID
    this.#service = service
    this.#context = context
    // Two reports may be lost, and the third is still in time.
    this.#period = context.ttl === undefined ? PERIOD : Math.min(PERIOD, context.ttl / 3)
    this.#backoff = exponential({ base: Math.min(250, this.#period), max: this.#period })
  }

  /** Registers, and begins the upkeep when that has worked. */
  async start(): Promise<this> {
    await this.#context.api.register(this.#service)
    this.#planNext(this.#period)
    return this
  }

  on<Name extends keyof RegisteredEvents>(event: Name, listener: (event: RegisteredEvents[Name]) => void): () => void {
    return this.#events.on(event, listener)
  }

  deregister(): Promise<void> {
    this.#leaving ??= this.#leave().catch((error: unknown) => {
      this.#leaving = undefined
      throw error
    })
    return this.#leaving
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.deregister()
  }

  async #leave(): Promise<void> {
    this.#ended = true
    this.#cancelNext()
    // A registration that is under way and arrived after this would bring the instance back, with nobody to remove it.
    await this.#round
    await this.#context.api.deregister(this.id)
  }

  #planNext(ms: number): void {
    if (this.#ended) return

    this.#cancelNext = schedule(this.#context.clock, ms, () => {
      this.#round = this.#tend()
    })
  }

  /** Never rejects. */
  async #tend(): Promise<void> {
    const { api, ttl, random } = this.#context

    try {
      const checkId = this.#service.Check?.CheckID
      const known = ttl !== undefined && checkId !== undefined ? await api.pass(checkId) : await api.knows(this.id)
      if (!known && !this.#ended) {
        await api.register(this.#service)
        this.#events.emit('restored', { id: this.id })
      }
      this.#failures = 0
      this.#planNext(this.#period)
    } catch (error) {
      this.#planNext(this.#backoff(this.#failures, 0, random))
      this.#failures += 1
      this.#events.emit('error', { id: this.id, error: error as Error })
    }
  }
}
