import type { CircuitBreaker } from '@msx/circuit-breaker'
import { prometheus } from '@msx/circuit-breaker/prometheus'
import * as client from 'prom-client'

/** What went from one service to another of late, and how its breakers are. */
export interface Edge {
  readonly to: string
  readonly kind: 'http' | 'grpc' | 'event'
  /** Calls a second, over the last ten. */
  readonly rate: number
  /** Of all of them, as a share. */
  readonly failures: number
  /** Milliseconds that 95 of 100 calls took at most; 0 when there were none. */
  readonly p95: number
  /** Of the last ten seconds: further attempts, and calls that a breaker did not let out. */
  readonly retries: number
  readonly rejected: number
  /** The state of the worst of them. An edge of events has none. */
  readonly breaker: BreakerView['state'] | undefined
  readonly breakers: readonly BreakerView[]
}

export interface BreakerView {
  readonly name: string
  readonly state: CircuitBreaker['state']
  readonly failureRate: number
  /** Milliseconds until an open one lets a call try. */
  readonly retryAfter: number
}

/** The part of a retry policy that is watched. */
interface Retrying {
  on(event: 'retry', listener: () => void): unknown
}

export interface EdgeMeter {
  call(duration: number, ok: boolean): void
  retry(): void
  reject(): void
}

export interface Edges {
  /** Measures the calls that go through the breaker and what the retry policy adds to them. */
  watch(to: string, kind: Edge['kind'], breaker: CircuitBreaker, retry?: Retrying): void
  /** For what has no breaker. The same meter for the same `to`. */
  meter(to: string, kind: Edge['kind']): EdgeMeter
  snapshot(): Edge[]
  /** Shows the breakers to Prometheus, also those that are watched later. */
  measure(registry: client.Registry): void
}

const seconds = 10

/** Of one second; beyond it more durations would not change the picture. */
const kept = 500

interface Second {
  at: number
  calls: number
  failed: number
  retries: number
  rejected: number
  durations: number[]
}

interface Watched {
  readonly to: string
  readonly kind: Edge['kind']
  readonly ring: Second[]
  readonly breakers: CircuitBreaker[]
}

/** The edges of one service: whom it calls, how often, and with what success. `now` is in milliseconds. */
export function createEdges(now: () => number = () => performance.now()): Edges {
  const edges = new Map<string, Watched>()
  const metrics: ReturnType<typeof prometheus>[] = []

  function edgeTo(to: string, kind: Edge['kind']): Watched {
    const known = edges.get(to)
    if (known !== undefined) return known

    const edge: Watched = { to, kind, ring: Array.from({ length: seconds }, () => emptySecond(-1)), breakers: [] }
    edges.set(to, edge)
    return edge
  }

  function present(edge: Watched): Second {
    const at = Math.floor(now() / 1_000)
    const index = at % seconds
    const second = edge.ring[index]
    if (second?.at === at) return second

    const fresh = emptySecond(at)
    edge.ring[index] = fresh
    return fresh
  }

  function meterOf(edge: Watched): EdgeMeter {
    return {
      call(duration, ok) {
        const second = present(edge)
        second.calls += 1
        if (!ok) second.failed += 1
        if (second.durations.length < kept) second.durations.push(duration)
      },
      retry() {
        present(edge).retries += 1
      },
      reject() {
        present(edge).rejected += 1
      },
    }
  }

  return {
    watch(to, kind, breaker, retry) {
      const edge = edgeTo(to, kind)
      const meter = meterOf(edge)
      edge.breakers.push(breaker)
      for (const one of metrics) one.add(breaker)
      breaker.on('result', ({ verdict, duration }) => {
        if (verdict !== 'ignore') meter.call(duration, verdict === 'success')
      })
      breaker.on('reject', () => meter.reject())
      retry?.on('retry', () => meter.retry())
    },
    meter: (to, kind) => meterOf(edgeTo(to, kind)),
    measure(registry) {
      const one = prometheus({ client, registry })
      for (const breaker of [...edges.values()].flatMap(({ breakers }) => breakers)) one.add(breaker)
      metrics.push(one)
    },
    snapshot: () => [...edges.values()].map((edge) => viewOf(edge, Math.floor(now() / 1_000))),
  }
}

function emptySecond(at: number): Second {
  return { at, calls: 0, failed: 0, retries: 0, rejected: 0, durations: [] }
}

function viewOf({ to, kind, ring, breakers }: Watched, at: number): Edge {
  const recent = ring.filter((second) => second.at > at - seconds)
  const sum = (field: 'calls' | 'failed' | 'retries' | 'rejected') =>
    recent.reduce((total, second) => total + second[field], 0)
  const calls = sum('calls')
  const views = breakers.map(breakerView)

  return {
    to,
    kind,
    rate: calls / seconds,
    failures: calls === 0 ? 0 : sum('failed') / calls,
    p95: percentile(
      recent.flatMap((second) => second.durations),
      0.95,
    ),
    retries: sum('retries'),
    rejected: sum('rejected'),
    breaker: worst(views),
    breakers: views,
  }
}

function breakerView(breaker: CircuitBreaker): BreakerView {
  const { failureRate, retryAfter } = breaker.metrics
  return { name: breaker.name, state: breaker.state, failureRate, retryAfter }
}

/** From what a caller least wants to see to what is usual. */
const order: readonly BreakerView['state'][] = ['isolated', 'open', 'half-open', 'disabled', 'closed']

function worst(views: readonly BreakerView[]): BreakerView['state'] | undefined {
  return order.find((state) => views.some((view) => view.state === state))
}

function percentile(durations: readonly number[], share: number): number {
  const sorted = [...durations].sort((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? 0
}
