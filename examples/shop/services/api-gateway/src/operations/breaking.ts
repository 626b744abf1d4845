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

/** For how long it is seen to it that what was dropped is dropped by who was away just then, in milliseconds. */
const aftercare = 60_000

/**
 * A process that was started again knows of no faults: so who ordered them remembers, and tells each instance that
 * comes. After a restart of its own it takes over what it finds. What another gateway has dropped, the instances say.
 */
export function createBreaking(services: Services, self: Self & { readonly instruments: Instruments }): Breaking {
  const wanted = new Map<string, Wanted>()
  const unwanted = new Map<string, { readonly service: string; readonly until: number }>()
  let timer: NodeJS.Timeout | undefined
  let closed = false

  const keyOf = (fault: { service: string; route: string }) => `${fault.service} ${fault.route}`
  const order = ({ id, route, latency, errors, drop }: Wanted) => JSON.stringify({ id, route, latency, errors, drop })

  async function put(instance: Instance, fault: Wanted): Promise<boolean> {
    const response = await services.ask(instance, '/internal/operations/faults', { method: 'PUT', body: order(fault) })
    await response.body?.cancel()
    if (response.status === 410) await drop(fault.id)
    return response.ok
  }

  /** Takes one fault, or all, from each instance that answers. */
  async function drop(id?: string): Promise<void> {
    for (const [key, fault] of wanted) {
      if (id !== undefined && fault.id !== id) continue
      wanted.delete(key)
      unwanted.set(fault.id, { service: fault.service, until: performance.now() + aftercare })
    }
    self.instruments.faults.clear(id)
    await Promise.all(services.names.flatMap(services.instances).map((instance) => take(instance, id)))
    watch()
  }

  async function take(instance: Instance, id: string | undefined): Promise<void> {
    const query = id === undefined ? '' : `?id=${encodeURIComponent(id)}`
    const path = `/internal/operations/faults${query}`
    const answer = await services.ask(instance, path, { method: 'DELETE' }).catch(() => undefined)
    await answer?.body?.cancel()
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

  /** Gives each instance what it lacks, and takes what it should have no more. */
  async function heal(): Promise<void> {
    for (const [id, { until }] of unwanted) if (until < performance.now()) unwanted.delete(id)

    for (const service of services.names) {
      const due = [...wanted.values()].filter((fault) => fault.service === service)
      const over = [...unwanted].filter(([, fault]) => fault.service === service).map(([id]) => id)
      if (due.length + over.length === 0) continue
      for (const instance of services.instances(service)) {
        const response = await services.ask(instance, '/internal/operations/status').catch(() => undefined)
        if (response?.ok !== true) continue
        const known = new Set(((await response.json()) as ServiceStatus).faults.map(({ id }) => id))
        for (const id of over) if (known.has(id)) await take(instance, id)
        for (const fault of due) {
          if (!known.has(fault.id) && wanted.get(keyOf(fault)) === fault) await put(instance, fault).catch(() => false)
        }
      }
    }
  }

  function watch(): void {
    if (closed || timer !== undefined || wanted.size + unwanted.size === 0) return
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
    const found = mergedFaults(statuses).filter(({ id }) => !unwanted.has(id))
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

    clear: drop,

    close() {
      closed = true
      clearTimeout(timer)
    },
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
