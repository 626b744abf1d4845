import { broker, type DeadLetterView, type Edge, type Fault, type ServiceStatus } from '@shop/platform'
import type { Services } from './services.js'

/** Everything that the stream tells of, each thing under a name that stays its own. */
export interface Picture {
  readonly nodes: Readonly<Record<string, Node>>
  readonly edges: Readonly<Record<string, DrawnEdge>>
  readonly sagas: Readonly<Record<string, SagaLine>>
  readonly faults: Readonly<Record<string, Fault>>
  readonly deadLetters: Readonly<Record<string, DeadLetterCount>>
}

export interface Node {
  readonly name: string
  readonly kind: 'service' | 'broker'
  /** `away`: no instance answers. */
  readonly status: 'ready' | 'unready' | 'away'
  readonly instances: readonly { readonly address: string; readonly pid: number | undefined; readonly ready: boolean }[]
}

export interface DrawnEdge extends Edge {
  readonly from: string
}

interface SagaLine {
  readonly id: string
  readonly status: string
}

export interface DeadLetterCount {
  readonly group: string
  readonly service: string
  readonly count: number
}

export interface DeadLetters extends DeadLetterCount {
  readonly items: readonly DeadLetterView[]
}

/** Whom the gateway itself is, and what it saw. */
export interface Self {
  readonly name: string
  status(): ServiceStatus
}

interface Seen {
  readonly node: Node
  readonly statuses: readonly ServiceStatus[]
}

export async function takePicture(services: Services, self: Self): Promise<Picture> {
  const [seen, sagas, deadLetters] = await Promise.all([
    Promise.all(services.names.map((name) => look(services, name))),
    services
      .forward('order-service', '/internal/operations/sagas?limit=25')
      .then(async (response) => (response.ok ? ((await response.json()) as { items: SagaLine[] }).items : []))
      .catch(() => []),
    readDeadLetters(services, 1),
  ])
  const own = self.status()
  const gateway: Node = {
    name: self.name,
    kind: 'service',
    status: 'ready',
    instances: [{ address: '', pid: own.pid, ready: true }],
  }
  const middle: Node = { name: broker, kind: 'broker', status: 'ready', instances: [] }
  const statuses = [own, ...seen.flatMap((service) => service.statuses)]

  return {
    nodes: byName([gateway, middle, ...seen.map(({ node }) => node)], ({ name }) => name),
    edges: byName(statuses.flatMap(edgesOf), ({ from, to }) => `${from} ${to}`),
    faults: byName(mergedFaults(statuses), ({ id }) => id),
    sagas: byName(sagas, ({ id }) => id),
    deadLetters: byName(
      deadLetters.map(({ group, service, count }) => ({ group, service, count })),
      ({ group }) => group,
    ),
  }
}

async function look(services: Services, name: string): Promise<Seen> {
  const looks = await Promise.all(
    services.instances(name).map(async (instance) => {
      const [health, status] = await Promise.all([
        services.ask(instance, '/health/ready').catch(() => undefined),
        services
          .ask(instance, '/internal/operations/status')
          .then(async (response) => (response.ok ? ((await response.json()) as ServiceStatus) : undefined))
          .catch(() => undefined),
      ])
      await health?.body?.cancel()
      return { address: instance.address, answered: health !== undefined, ready: health?.status === 200, status }
    }),
  )
  const status = looks.some(({ ready }) => ready)
    ? 'ready'
    : looks.some(({ answered }) => answered)
      ? 'unready'
      : 'away'

  return {
    node: {
      name,
      kind: 'service',
      status,
      instances: looks.map(({ address, ready, status: told }) => ({ address, ready, pid: told?.pid })),
    },
    statuses: looks.flatMap(({ status: told }) => told ?? []),
  }
}

export async function readDeadLetters(services: Services, limit: number): Promise<DeadLetters[]> {
  const answers = await Promise.all(
    services.names.map(async (service): Promise<DeadLetters[]> => {
      try {
        const status = await services.forward(service, '/internal/operations/status')
        const { group } = (await status.json()) as ServiceStatus
        if (group === undefined) return []

        const response = await services.forward(service, `/internal/operations/dead-letters?limit=${limit}`)
        if (!response.ok) return []
        const { items, count } = (await response.json()) as { items: DeadLetterView[]; count: number }
        return [{ group, service, count, items }]
      } catch {
        return []
      }
    }),
  )
  return answers.flat()
}

/** What a service hears comes from the broker, though the service has measured it as its own. */
function edgesOf({ service, edges }: ServiceStatus): DrawnEdge[] {
  return edges.map((edge) => ({ ...edge, from: edge.to === service ? broker : service }))
}

/** One fault is on every instance of its service: their counts add up. */
export function mergedFaults(statuses: readonly ServiceStatus[]): Fault[] {
  const merged = new Map<string, Fault>()
  for (const fault of statuses.flatMap(({ faults }) => faults)) {
    const before = merged.get(fault.id)?.effect
    const { seen, delayed, failed, dropped } = fault.effect
    merged.set(fault.id, {
      ...fault,
      effect: {
        seen: seen + (before?.seen ?? 0),
        delayed: delayed + (before?.delayed ?? 0),
        failed: failed + (before?.failed ?? 0),
        dropped: dropped + (before?.dropped ?? 0),
      },
    })
  }
  return [...merged.values()]
}

function byName<T>(things: readonly T[], name: (thing: T) => string): Record<string, T> {
  return Object.fromEntries(things.map((thing) => [name(thing), thing]))
}

/** What became of each kind of thing since the picture before; undefined when nothing did. */
export type Change = {
  readonly [K in keyof Picture]?: { readonly set: Record<string, unknown>; readonly gone: readonly string[] }
}

export function changeBetween(before: Picture, after: Picture): Change | undefined {
  const changes = (Object.keys(after) as (keyof Picture)[]).flatMap((kind) => {
    const [old, now] = [before[kind] as Record<string, unknown>, after[kind] as Record<string, unknown>]
    const set = Object.entries(now).filter(([name, thing]) => JSON.stringify(thing) !== JSON.stringify(old[name]))
    const gone = Object.keys(old).filter((name) => !(name in now))
    return set.length + gone.length === 0 ? [] : [[kind, { set: Object.fromEntries(set), gone }] as const]
  })
  return changes.length === 0 ? undefined : Object.fromEntries(changes)
}
