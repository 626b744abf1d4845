import { randomUUID } from 'node:crypto'
import { type Fault, type FaultRequest, HttpProblem, type Instruments, type ServiceStatus } from '@shop/platform'
import { mergedFaults, type Self } from './picture.js'
import type { Instance, Services } from './services.js'

/** What is broken on purpose, in all instances of a service, and what it did. */
export interface Breaking {
  list(): Promise<Fault[]>
  /** Rejects when not one instance has taken it. */
  set(fault: FaultRequest): Promise<void>
  /** One of them, or all, everywhere. */
  clear(id?: string): Promise<void>
  close(): void
}

interface Wanted extends FaultRequest {
  readonly id: string
}

/** Between two looks whether an instance has come without what is wanted of it, in milliseconds. */
const interval = 500

/**
 * A process that was started again knows of no faults: so who ordered them remembers, and tells each instance that
 * comes. After a restart of its own it takes over what it finds.
 */
export function createBreaking(services: Services, self: Self & { readonly instruments: Instruments }): Breaking {
  const wanted = new Map<string, Wanted>()
  let timer: NodeJS.Timeout | undefined

  const keyOf = (fault: { service: string; route: string }) => `${fault.service} ${fault.route}`
  const order = ({ id, route, latency, errors, drop }: Wanted) => JSON.stringify({ id, route, latency, errors, drop })

  async function put(instance: Instance, fault: Wanted): Promise<boolean> {
    const response = await services.ask(instance, '/internal/operations/faults', { method: 'PUT', body: order(fault) })
    await response.body?.cancel()
    return response.ok
  }

  async function apply(fault: Wanted): Promise<void> {
    if (fault.service === self.name) {
      self.instruments.faults.set(fault)
      return
    }
    const taken = await Promise.all(
      services.instances(fault.service).map((instance) => put(instance, fault).catch(() => false)),
    )
    if (!taken.includes(true)) throw away(fault.service)
  }

  async function kill(service: string): Promise<void> {
    if (service === self.name) {
      setTimeout(() => self.instruments.kill(), 50)
      return
    }
    const [instance] = services.instances(service)
    if (instance === undefined) throw away(service)
    const answer = await services.ask(instance, '/internal/operations/kill', { method: 'POST' }).catch(() => undefined)
    await answer?.body?.cancel()
    if (answer === undefined) throw away(service)
  }

  /** Gives each instance what it lacks. */
  async function heal(): Promise<void> {
    for (const service of services.names) {
      const due = [...wanted.values()].filter((fault) => fault.service === service)
      if (due.length === 0) continue
      for (const instance of services.instances(service)) {
        const response = await services.ask(instance, '/internal/operations/status').catch(() => undefined)
        if (response?.ok !== true) continue
        const known = new Set(((await response.json()) as ServiceStatus).faults.map(({ id }) => id))
        for (const fault of due) if (!known.has(fault.id) && wanted.has(keyOf(fault))) await put(instance, fault)
      }
    }
  }

  function watch(): void {
    if (timer !== undefined || wanted.size === 0) return
    timer = setTimeout(() => {
      heal()
        .catch(() => undefined)
        .finally(() => {
          timer = undefined
          watch()
        })
    }, interval)
    timer.unref()
  }

  async function list(): Promise<Fault[]> {
    const statuses = [self.status(), ...(await services.askAll<ServiceStatus>('/internal/operations/status'))]
    const found = mergedFaults(statuses)
    for (const fault of found) if (!wanted.has(keyOf(fault))) wanted.set(keyOf(fault), fault)
    watch()

    const present = new Set(found.map(({ id }) => id))
    const waiting = [...wanted.values()].filter(({ id }) => !present.has(id))
    return [...found, ...waiting.map((fault) => ({ ...fault, effect: { seen: 0, delayed: 0, failed: 0, dropped: 0 } }))]
  }

  return {
    list,

    async set({ kill: kills, ...fault }) {
      if (fault.service !== self.name && !services.names.includes(fault.service)) {
        throw new HttpProblem({
          status: 422,
          title: 'Unprocessable Content',
          detail: `there is no service '${fault.service}'; expected one of ${[self.name, ...services.names].join(', ')}`,
        })
      }
      const lasting = fault.latency !== undefined || fault.errors !== undefined || fault.drop !== undefined
      if (lasting) {
        const one = { ...fault, id: randomUUID() }
        await apply(one)
        wanted.set(keyOf(one), one)
        watch()
      }
      if (kills === true) await kill(fault.service)
    },

    async clear(id) {
      for (const [key, fault] of wanted) if (id === undefined || fault.id === id) wanted.delete(key)
      self.instruments.faults.clear(id)
      const query = id === undefined ? '' : `?id=${encodeURIComponent(id)}`
      await Promise.all(
        services.names.flatMap(services.instances).map(async (instance) => {
          const path = `/internal/operations/faults${query}`
          const answer = await services.ask(instance, path, { method: 'DELETE' }).catch(() => undefined)
          await answer?.body?.cancel()
        }),
      )
    },

    close: () => clearTimeout(timer),
  }
}

function away(service: string): HttpProblem {
  return new HttpProblem({
    status: 503,
    title: 'Service Unavailable',
    detail: `no instance of ${service} answers`,
    headers: { 'retry-after': '1' },
  })
}
