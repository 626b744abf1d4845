import type { MeasurableRelay, OutboxStats } from '../outbox-events.js'

export const ROW_KINDS = ['ready', 'delayed', 'retrying', 'parked', 'held'] as const

/** What relays last saw, by the source of their bus. Each sees rows of its own: they add up. */
export function backlogOf(relays: Iterable<MeasurableRelay>): Map<string, OutboxStats> {
  const backlog = new Map<string, OutboxStats>()
  for (const relay of relays) {
    const { outbox } = relay.snapshot()
    if (outbox === undefined) continue

    const others = backlog.get(relay.source)
    backlog.set(relay.source, others === undefined ? outbox : sum(others, outbox))
  }
  return backlog
}

function sum(a: OutboxStats, b: OutboxStats): OutboxStats {
  return {
    ready: a.ready + b.ready,
    delayed: a.delayed + b.delayed,
    retrying: a.retrying + b.retrying,
    parked: a.parked + b.parked,
    held: a.held + b.held,
    lag: Math.max(a.lag, b.lag),
  }
}
