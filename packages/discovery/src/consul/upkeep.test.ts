import { describe, expect, it } from 'vitest'
import { RegistryError } from '../errors.js'
import { VirtualClock } from '../test-support.js'
import type { ConsulApi } from './api.js'
import { defineService } from './registration.js'
import { Upkeep } from './upkeep.js'

/** An agent that remembers, until it is made to forget or to be away. */
class Agent implements Omit<ConsulApi, 'health' | 'mayRead'> {
  readonly calls: string[] = []
  readonly known = new Set<string>()
  away = false
  hold: Promise<void> | undefined

  async register({ ID }: { ID: string }): Promise<void> {
    await this.#call('register')
    this.known.add(ID)
  }

  async deregister(id: string): Promise<void> {
    await this.#call('deregister')
    this.known.delete(id)
  }

  async knows(id: string): Promise<boolean> {
    await this.#call('knows')
    return this.known.has(id)
  }

  async pass(checkId: string): Promise<boolean> {
    await this.#call('pass')
    return this.known.has(checkId.replace('service:', ''))
  }

  async #call(name: string): Promise<void> {
    this.calls.push(name)
    await this.hold
    if (this.away) throw new RegistryError('away')
  }
}

async function bench({ ttl }: { ttl?: number } = {}) {
  const [agent, clock] = [new Agent(), new VirtualClock()]
  const service = defineService({
    name: 'users',
    id: 'u1',
    host: '10.0.0.7',
    port: 80,
    ...(ttl !== undefined && { check: { ttl } }),
  })
  const registered = await new Upkeep(service, { api: agent as never, clock, random: () => 0.999_999, ttl }).start()
  const events: string[] = []
  registered.on('error', ({ id, error }) => events.push(`${id}: ${error.message}`))
  registered.on('restored', ({ id }) => events.push(`${id} restored`))
  const pass = async (ms: number) => {
    clock.advance(ms)
    await new Promise(setImmediate)
  }
  return { agent, clock, registered, events, pass }
}

describe('Upkeep', () => {
  it.each([
    [3_000, 1_000],
    [60_000, 2_000],
  ])('reports a TTL check of %i ms every %i ms', async (ttl, period) => {
    const { agent, pass } = await bench({ ttl })
    await pass(period - 1)
    expect(agent.calls).toEqual(['register'])

    await pass(1)
    await pass(period)
    expect(agent.calls).toEqual(['register', 'pass', 'pass'])
  })

  it('asks every two seconds whether it is still known when Consul does the check', async () => {
    const { agent, pass } = await bench()
    await pass(2_000)
    await pass(2_000)

    expect(agent.calls).toEqual(['register', 'knows', 'knows'])
  })

  it.each([{ ttl: 3_000 }, {}])('registers again what the agent has forgotten, with %j', async (options) => {
    const { agent, events, pass } = await bench(options)
    agent.known.clear()
    await pass(2_000)

    expect(agent.known).toEqual(new Set(['u1']))
    expect(events).toEqual(['u1 restored'])
  })

  it('goes on through an outage, and tells of it', async () => {
    const { agent, events, pass } = await bench({ ttl: 3_000 })
    agent.away = true
    await pass(1_000)
    await pass(250)
    await pass(500)
    expect(events).toEqual(['u1: away', 'u1: away', 'u1: away'])

    agent.away = false
    agent.known.clear()
    await pass(1_000)
    expect(agent.known).toEqual(new Set(['u1']))
  })

  it('has three reports in every TTL also when they fail', async () => {
    const { agent, pass } = await bench({ ttl: 300 })
    agent.away = true
    for (let i = 0; i < 300; i++) await pass(1)

    expect(agent.calls.filter((call) => call === 'pass').length).toBeGreaterThanOrEqual(3)
  })

  it('deregisters once, however often it is told to', async () => {
    const { agent, clock, registered, pass } = await bench({ ttl: 3_000 })
    await Promise.all([registered.deregister(), registered.deregister(), registered[Symbol.asyncDispose]()])
    await registered.deregister()
    await pass(60_000)

    expect(agent.calls).toEqual(['register', 'deregister'])
    expect(clock.pending).toBe(0)
  })

  it('does not let a registration that is under way come after the deregistration', async () => {
    const { agent, registered, pass } = await bench()
    agent.known.clear()
    let release!: () => void
    agent.hold = new Promise((resolve) => {
      release = resolve
    })
    await pass(2_000) // asks, and would register
    const gone = registered.deregister()
    release()
    await gone
    await pass(60_000)

    expect(agent.known).toEqual(new Set())
    expect(agent.calls).toEqual(['register', 'knows', 'deregister'])
  })

  it('waits for a registration that was sent before it deregisters', async () => {
    const { agent, registered, pass } = await bench()
    agent.known.clear()
    const register = agent.register.bind(agent)
    let release!: () => void
    agent.register = async (service) => {
      await new Promise<void>((resolve) => {
        release = resolve
      })
      await register(service)
    }
    await pass(2_000)
    const gone = registered.deregister()
    await new Promise(setImmediate)
    expect(agent.calls).not.toContain('deregister')

    release()
    await gone
    expect(agent.known).toEqual(new Set())
  })

  it('tries again to deregister after it could not', async () => {
    const { agent, registered } = await bench()
    agent.away = true
    await expect(registered.deregister()).rejects.toMatchObject({ code: 'MSX_REGISTRY' })
    agent.away = false
    await registered.deregister()

    expect(agent.known).toEqual(new Set())
  })

  it('rejects when the first registration fails, and does no upkeep', async () => {
    const [agent, clock] = [new Agent(), new VirtualClock()]
    agent.away = true
    const service = defineService({ name: 'users', host: '10.0.0.7', port: 80 })
    const upkeep = new Upkeep(service, { api: agent as never, clock, random: () => 0, ttl: undefined })

    await expect(upkeep.start()).rejects.toMatchObject({ code: 'MSX_REGISTRY' })
    expect(clock.pending).toBe(0)
  })
})
