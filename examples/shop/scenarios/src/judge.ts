import type { Expectation } from './scenario.js'

/** What has been seen of the shop so far, by its answers over HTTP. */
export interface Seen {
  /** The answers to the load. */
  readonly answers: readonly { readonly status: number; readonly ms: number }[]
  /** The orders that were taken. */
  readonly orders: readonly SeenOrder[]
  /** By `from to`, since the phase began. */
  readonly edges: Readonly<Record<string, SeenEdge>>
  readonly effect: Readonly<Record<'delayed' | 'failed' | 'dropped', number>>
  /** By service, each status that it had since the phase began, the latest last. */
  readonly services: Readonly<Record<string, readonly string[]>>
  /** Fewer pieces than before the load. */
  readonly stockTaken: number
  /** By group, more than before the load. */
  readonly deadLetters: Readonly<Record<string, number>>
  readonly recovered: boolean
}

export interface SeenOrder {
  readonly id: string
  readonly status: string
  readonly reason: string
  readonly saga: { readonly status: string; readonly steps: readonly string[] }
  readonly told: readonly string[]
  /** The names of what its trace says was asked of services, in the order in which that began. */
  readonly spans: readonly string[]
}

export interface SeenEdge {
  readonly states: readonly string[]
  readonly retries: number
  readonly rejected: number
}

/** An expectation in words, what was seen instead of it or as it, and whether that is enough. */
export interface Verdict {
  readonly expected: string
  readonly seen: string
  readonly holds: boolean
}

export function judge(expectation: Expectation, seen: Seen): Verdict {
  const { orders } = seen

  switch (expectation.see) {
    case 'answers': {
      const { status, within = Number.POSITIVE_INFINITY } = expectation
      const slowest = Math.max(0, ...seen.answers.map(({ ms }) => ms))
      return {
        expected: `every request is answered with ${status}${within < Number.POSITIVE_INFINITY ? ` within ${within} ms` : ''}`,
        seen: `${counted(seen.answers.map((answer) => String(answer.status)))}; the slowest after ${Math.round(slowest)} ms`,
        holds: seen.answers.length > 0 && seen.answers.every((one) => one.status === status) && slowest <= within,
      }
    }

    case 'orders': {
      const { status, because = '' } = expectation
      return {
        expected: `every order ends ${status}${because && `, because “${because}”`}`,
        seen: counted(orders.map((order) => order.status + (order.reason && ` (${order.reason})`))),
        holds: all(orders, (order) => order.status === status && order.reason.includes(because)),
      }
    }

    case 'sagas': {
      const { status, steps = [] } = expectation
      const missing = orders.flatMap(({ saga }) => steps.filter((step) => !saga.steps.includes(step)))
      return {
        expected: `every checkout ends ${status}${steps.length > 0 ? `, with ${steps.join(', ')}` : ''}`,
        seen:
          counted(orders.map(({ saga }) => saga.status)) + (missing.length > 0 ? `; without ${counted(missing)}` : ''),
        holds: all(orders, ({ saga }) => saga.status === status) && missing.length === 0,
      }
    }

    case 'spans': {
      const { inOrder } = expectation
      return {
        expected: `each trace goes ${inOrder.map(shortName).join(' → ')}`,
        seen: counted(
          orders.map(({ spans }) =>
            spans
              .filter((name) => inOrder.includes(name))
              .map(shortName)
              .join(' → '),
          ),
        ),
        holds: all(orders, ({ spans }) => isSubsequence(inOrder, spans)),
      }
    }

    case 'breaker': {
      const { states = [] } = edgeOf(expectation, seen)
      return {
        expected: `the breaker ${expectation.from} → ${expectation.to} ${expectation.state === 'open' ? 'opens' : 'is closed'}`,
        seen: states.join(', then ') || 'no such edge',
        // One that is half open has been open, for a moment too short to be looked at.
        holds: states.includes(expectation.state) || (expectation.state === 'open' && states.includes('half-open')),
      }
    }

    case 'retries':
    case 'rejected': {
      const { [expectation.see]: count = 0 } = edgeOf(expectation, seen)
      const what = expectation.see === 'retries' ? 'attempts are repeated' : 'calls are not let out'
      return {
        expected: `at least ${expectation.atLeast} ${what}, ${expectation.from} → ${expectation.to}`,
        seen: String(count),
        holds: count >= expectation.atLeast,
      }
    }

    case 'effect': {
      const count = seen.effect[expectation.of]
      return {
        expected: `the faults have ${expectation.of} at least ${expectation.atLeast}`,
        seen: String(count),
        holds: count >= expectation.atLeast,
      }
    }

    case 'service': {
      const statuses = seen.services[expectation.name] ?? []
      return {
        expected: `${expectation.name} is ${expectation.status}`,
        seen: statuses.join(', then ') || 'not to be seen',
        // That it went away is past when it is back; that it is ready has to be so still.
        holds: expectation.status === 'away' ? statuses.includes('away') : statuses.at(-1) === 'ready',
      }
    }

    case 'stock': {
      const taken = expectation.taken * orders.length
      return {
        expected: `${taken === 0 ? 'nothing' : taken} of the stock is gone`,
        seen: String(seen.stockTaken),
        holds: seen.stockTaken === taken,
      }
    }

    case 'told': {
      const told = orders.filter((order) => order.told.includes(expectation.of)).length
      return {
        expected: `every customer is told of ${expectation.of}`,
        seen: `${told} of ${orders.length}`,
        holds: all(orders, (order) => order.told.includes(expectation.of)),
      }
    }

    case 'dead-letters': {
      const count = seen.deadLetters[expectation.group] ?? 0
      return {
        expected: `${expectation.more === 0 ? 'no' : expectation.more} more dead letters of ${expectation.group}`,
        seen: String(count),
        holds: count === expectation.more,
      }
    }

    case 'recovery':
      return {
        expected: expectation.of === 'orders' ? 'a new order is CONFIRMED' : 'a new read is answered with 200',
        seen: seen.recovered ? 'so it is' : 'not yet',
        holds: seen.recovered,
      }
  }
}

/** None of them is not all of them: what was expected of orders has to be seen of one. */
function all<T>(things: readonly T[], is: (thing: T) => boolean): boolean {
  return things.length > 0 && things.every(is)
}

function edgeOf({ from, to }: { readonly from: string; readonly to: string }, { edges }: Seen): Partial<SeenEdge> {
  return edges[`${from} ${to}`] ?? {}
}

function isSubsequence(wanted: readonly string[], names: readonly string[]): boolean {
  let at = 0
  for (const name of names) if (name === wanted[at]) at += 1
  return at === wanted.length
}

function shortName(span: string): string {
  return span.slice(span.lastIndexOf('/') + 1)
}

/** `3 × CONFIRMED, 1 × CANCELLED` */
function counted(texts: readonly string[]): string {
  const counts = new Map<string, number>()
  for (const text of texts) counts.set(text, (counts.get(text) ?? 0) + 1)
  return [...counts].map(([text, count]) => `${count} × ${text}`).join(', ') || 'none'
}
