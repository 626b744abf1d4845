import type { PrometheusClient } from './metrics.js'

type Labels = Readonly<Record<'method' | 'route' | 'status', string>>

/** Counts one request. */
export type Count = (method: string, route: string, status: number, seconds: number) => void

/** What a client's metric hands over when it is scraped, as far as it is read here. */
interface Scraped {
  readonly values: readonly {
    readonly labels: Readonly<Record<string, string | number>>
    readonly sharedLabels?: Labels
    readonly value: number
    readonly metricName?: string
  }[]
}

/** A client whose metrics gather their values when they are scraped, by these methods. */
interface Gathering {
  readonly Counter: new (config: object) => { get(): Promise<Scraped>; reset(): void }
  readonly Histogram: new (config: object) => { getForPromString(): Promise<Scraped>; reset(): void }
}

/**
 * The counter and the histogram of all requests. A client puts a text together from the labels of each value it is given,
 * to find where it belongs, which costs as much as finding the route and verifying the token. So the sums are kept here, and
 * the client's metrics ask for them when they are scraped.
 */
export function createTallies<R>(client: PrometheusClient<R>, registry: R, buckets: readonly number[]): Count {
  const labels = { labelNames: ['method', 'route', 'status'], registers: [registry] }
  const counted = { name: 'http_requests_total', help: 'Requests answered.', ...labels }
  const timed = {
    name: 'http_request_duration_seconds',
    help: 'Seconds from the arrival of a request to the end of its response.',
    buckets: [...buckets],
    ...labels,
  }
  const rows = new Rows(buckets.length)
  if (!gathers(client)) return tellEach(new client.Counter(counted), new client.Histogram(timed), rows)

  const { Counter, Histogram } = client as unknown as Gathering
  ;new (class extends Counter {
    override async get(): Promise<Scraped> {
      return { ...(await super.get()), values: rows.counts() }
    }

    override reset(): void {
      super.reset()
      rows.forgetCounts()
    }
  })(counted)
  ;new (class extends Histogram {
    override async getForPromString(): Promise<Scraped> {
      return { ...(await super.getForPromString()), values: rows.times(timed.name, buckets) }
    }

    override reset(): void {
      super.reset()
      rows.forgetTimes()
    }
  })(timed)

  return (method, route, status, seconds) => {
    const row = rows.of(method, route, status)
    row.count += 1
    row.sum += seconds
    let bucket = 0
    while (bucket < buckets.length && seconds > buckets[bucket]!) bucket += 1
    row.buckets[bucket]! += 1
  }
}

/** prom-client 15 and @prometheus-io/client do; another one may not, and is told of each request. */
function gathers(client: unknown): boolean {
  const { Counter, Histogram } = client as { Counter?: { prototype?: object }; Histogram?: { prototype?: object } }
  const has = (made: { prototype?: object } | undefined, method: string): boolean =>
    typeof (made?.prototype as Record<string, unknown> | undefined)?.[method] === 'function'

  return has(Counter, 'get') && has(Counter, 'reset') && has(Histogram, 'getForPromString') && has(Histogram, 'reset')
}

function tellEach(
  total: { inc(labels: Labels): void },
  duration: { observe(labels: Labels, value: number): void },
  rows: Rows,
): Count {
  return (method, route, status, seconds) => {
    const { labels } = rows.of(method, route, status)
    total.inc(labels)
    duration.observe(labels, seconds)
  }
}

/** The requests of one method, route and status. */
class Row {
  readonly status: number
  readonly labels: Labels
  count = 0
  sum = 0
  /** By the first bound they are within; the last ones are within none. */
  readonly buckets: Float64Array

  constructor(method: string, route: string, status: number, buckets: number) {
    this.status = status
    this.labels = { method, route, status: String(status) }
    this.buckets = new Float64Array(buckets + 1)
  }
}

class Rows {
  readonly #buckets: number
  readonly #byRoute = new Map<string, Row[]>()

  constructor(buckets: number) {
    this.#buckets = buckets
  }

  of(method: string, route: string, status: number): Row {
    let rows = this.#byRoute.get(route)
    if (rows === undefined) {
      rows = []
      this.#byRoute.set(route, rows)
    }
    for (const row of rows) if (row.status === status && row.labels.method === method) return row

    const row = new Row(method, route, status, this.#buckets)
    rows.push(row)
    return row
  }

  counts(): Scraped['values'] {
    return this.#all()
      .filter(({ count }) => count > 0)
      .map(({ labels, count }) => ({ labels, value: count }))
  }

  times(name: string, bounds: readonly number[]): Scraped['values'] {
    return this.#all().flatMap(({ labels: sharedLabels, sum, buckets }) => {
      let within = 0
      const cumulative = [...bounds, '+Inf'].map((le, index) => {
        within += buckets[index]!
        return { labels: { le }, sharedLabels, value: within, metricName: `${name}_bucket` }
      })
      if (within === 0) return []

      return [
        ...cumulative,
        { labels: {}, sharedLabels, value: sum, metricName: `${name}_sum` },
        { labels: {}, sharedLabels, value: within, metricName: `${name}_count` },
      ]
    })
  }

  forgetCounts(): void {
    for (const row of this.#all()) row.count = 0
  }

  forgetTimes(): void {
    for (const row of this.#all()) {
      row.sum = 0
      row.buckets.fill(0)
    }
  }

  #all(): Row[] {
    return [...this.#byRoute.values()].flat()
  }
}
