import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'

const share = z.number().min(0).max(1)

/** What is broken on purpose, and where. */
export const faultRequest = z
  .strictObject({
    service: z.string().min(1).max(100),
    /**
     * `GET /internal/products`, `/internal/reservations/:orderId`, a method of gRPC (`Authorize`) or an event (`order.created`).
     * Default `*`: everything the service is asked or told.
     */
    route: z.string().min(1).max(200).default('*'),
    /** Milliseconds before anything else happens. */
    latency: z.int().min(0).max(60_000).optional(),
    /** The share that is answered with an error; an event's handler fails, and is tried again. */
    errors: share.optional(),
    /** The share whose connection is cut without an answer; an event goes to the dead letters. */
    drop: share.optional(),
    /** Ends the service at once, as SIGKILL would. It is started again. */
    kill: z.boolean().optional(),
  })
  .refine(
    (fault) => [fault.latency, fault.errors, fault.drop].some((value) => value !== undefined) || fault.kill === true,
    {
      message: 'name one of latency, errors, drop and kill',
    },
  )

export type FaultRequest = z.output<typeof faultRequest>

/** How often a fault was met, and what it did. */
export interface FaultEffect {
  readonly seen: number
  readonly delayed: number
  readonly failed: number
  readonly dropped: number
}

export interface Fault extends Omit<FaultRequest, 'kill'> {
  readonly id: string
  readonly effect: FaultEffect
}

/** What a fault does to one request. */
export interface Strike {
  readonly latency: number
  readonly then: 'go-on' | 'fail' | 'drop'
}

export interface Faults {
  /**
   * One fault per route; another one on it takes its place and counts anew. False, and nothing done, when the fault of
   * this id was dropped before: somebody has not heard of that yet.
   */
  set(fault: Omit<FaultRequest, 'service' | 'kill'> & { readonly id?: string | undefined }): boolean
  /** Drops one, or all of them. */
  clear(id?: string): void
  list(): Fault[]
  /** What happens to this request. Counted as having happened. */
  strike(route: string): Strike
}

interface Kept {
  readonly id: string
  readonly route: string
  readonly latency: number | undefined
  readonly errors: number | undefined
  readonly drop: number | undefined
  readonly matches: (route: string) => boolean
  seen: number
  delayed: number
  failed: number
  dropped: number
}

/** How many dropped faults are remembered. */
const tombstones = 1_000

const spared: Strike = { latency: 0, then: 'go-on' }

/** The faults of one service. They live as long as its process; who set them sets them again. */
export function createFaults(service: string, random: () => number = Math.random): Faults {
  const faults = new Map<string, Kept>()
  const buried = new Set<string>()

  function bury(id: string): void {
    for (const [route, fault] of faults) if (fault.id === id) faults.delete(route)
    buried.add(id)
    const [oldest] = buried
    if (buried.size > tombstones && oldest !== undefined) buried.delete(oldest)
  }

  return {
    set({ id = randomUUID(), route, latency, errors, drop }) {
      if (buried.has(id)) return false

      const before = faults.get(route)
      if (before !== undefined && before.id !== id) bury(before.id)
      const matches = matcher(route)
      faults.set(route, { id, route, latency, errors, drop, matches, seen: 0, delayed: 0, failed: 0, dropped: 0 })
      return true
    },

    clear(id) {
      for (const one of id === undefined ? [...faults.values()].map((fault) => fault.id) : [id]) bury(one)
    },

    list: () =>
      [...faults.values()].map(({ id, route, latency, errors, drop, seen, delayed, failed, dropped }) => ({
        id,
        service,
        route,
        ...(latency !== undefined && { latency }),
        ...(errors !== undefined && { errors }),
        ...(drop !== undefined && { drop }),
        effect: { seen, delayed, failed, dropped },
      })),

    strike(route) {
      if (faults.size === 0) return spared
      const fault = [...faults.values()].find(({ matches }) => matches(route))
      if (fault === undefined) return spared

      fault.seen += 1
      const latency = fault.latency ?? 0
      if (latency > 0) fault.delayed += 1
      if (fault.drop !== undefined && random() < fault.drop) {
        fault.dropped += 1
        return { latency, then: 'drop' }
      }
      if (fault.errors !== undefined && random() < fault.errors) {
        fault.failed += 1
        return { latency, then: 'fail' }
      }
      return { latency, then: 'go-on' }
    },
  }
}

/** Waits as long as the fault says. Rejects with the signal's reason when nobody waits for the answer any more. */
export async function delayed({ latency }: Strike, signal?: AbortSignal): Promise<void> {
  if (latency === 0) return

  await sleep(latency, undefined, signal === undefined ? {} : { signal }).catch((error: unknown) => {
    signal?.throwIfAborted()
    throw error
  })
}

/** `*`, a route in full, or a path with `:name` for a segment; a path without a method is meant in all of them. */
function matcher(pattern: string): (route: string) => boolean {
  if (pattern === '*') return () => true

  const [method, path] = /^[A-Z]+ \//.test(pattern) ? pattern.split(' ', 2) : [undefined, pattern]
  if (path === undefined || !path.startsWith('/')) return (route) => route === pattern

  const source = path
    .split('/')
    .map((segment) => (segment.startsWith(':') ? '[^/]+' : segment.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')))
    .join('/')
  const expected = new RegExp(`^${method ?? '[A-Z]+'} ${source}$`)
  return (route) => expected.test(route)
}
