import assert from 'node:assert/strict'
import { setTimeout as wait } from 'node:timers/promises'
import { type EndpointInit, toEndpoint } from '../endpoint.js'
import type { Source, SourceSink } from '../source.js'

/** One case of a contract suite: give `name` and `run` to the test runner of your choice. */
export interface ContractCase {
  readonly name: string
  run(): Promise<void>
}

/** Where an instance is. */
export interface Place {
  readonly host: string
  readonly port: number
}

/** Services by their names, and where their instances are: the world that a source is to see. */
export type Places = Readonly<Record<string, readonly Place[]>>

/** A source in a world of its own, which the cases change. */
export interface SourceBench {
  readonly source: Source
  /** Makes a service's instances exactly these. Needed for `changes`. */
  set?(service: string, places: readonly Place[]): Promise<void> | void
  /** Makes whatever the source asks fail, until the returned function is called. Needed for `outages`. */
  outage?(): Promise<() => Promise<void> | void>
  /** Called when the case is over. */
  close?(): Promise<void> | void
}

/** What a source can do besides telling what it knows. */
export interface SourceContractOptions {
  /** It tells of changes: the benches have `set`. Default: false. */
  readonly changes?: boolean | undefined
  /** It asks something that can be away: the benches have `outage`. Default: false. */
  readonly outages?: boolean | undefined
  /** How long a case waits for what should happen, ms. Default: 10_000. */
  readonly patience?: number | undefined
}

/** How long a case watches for what should not happen, ms. */
const QUIET = 250

const A: Place = { host: '127.0.0.1', port: 3001 }
const B: Place = { host: '127.0.0.1', port: 3002 }
const C: Place = { host: '127.0.0.2', port: 3001 }

/** Each case has names of its own, so that cases can share a registry, also with other people. */
let cases = 0

/**
 * The cases every source has to pass. They need real time, pass in any order and may run side by side.
 *
 * @param make A source that sees these services, where they are; a bare source will do when no option is set.
 * @example
 * ```ts
 * for (const { name, run } of sourceContract((places) => fixed(places))) test(name, run)
 * ```
 */
export function sourceContract(
  make: (places: Places) => Source | SourceBench | Promise<Source | SourceBench>,
  options: SourceContractOptions = {},
): readonly ContractCase[] {
  const { changes = false, outages = false, patience = 10_000 } = options
  const all = {
    ...KNOWING,
    ...(changes && CHANGES),
    ...(outages && OUTAGES),
    ...(changes && outages && CHANGES_IN_OUTAGES),
  }
  return Object.entries(all).map(([name, body]) => ({ name, run: () => onBench(make, patience, body) }))
}

/** A source, two services with unique names (`users` at A and B, `orders` at C), and what a case does with them. */
interface Bench {
  readonly users: string
  readonly orders: string
  readonly source: Source
  watch(service: string): Watch
  set(service: string, ...places: Place[]): Promise<void>
  outage(): Promise<() => Promise<void> | void>
}

async function onBench(
  make: Parameters<typeof sourceContract>[0],
  patience: number,
  body: (bench: Bench) => Promise<void>,
): Promise<void> {
  cases += 1
  const mark = `${process.pid.toString(36)}-${Date.now().toString(36)}-${cases}`
  const [users, orders] = [`users-${mark}`, `orders-${mark}`]
  const made = await make({ [users]: [A, B], [orders]: [C] })
  const given: SourceBench = 'source' in made ? made : { source: made }

  const watches: Watch[] = []
  try {
    await body({
      users,
      orders,
      source: given.source,
      watch(service) {
        const watch = new Watch(given.source, service, patience)
        watches.push(watch)
        return watch
      },
      async set(service, ...places) {
        assert(given.set, 'A bench for `changes` has a function `set`')
        await given.set(service, places)
      },
      async outage() {
        assert(given.outage, 'A bench for `outages` has a function `outage`')
        return given.outage()
      },
    })
  } finally {
    for (const watch of watches) watch.end()
    await given.close?.()
  }
}

type Report = { readonly endpoints: readonly EndpointInit[] } | { readonly error: unknown }

/** A watch that remembers what it is told. */
class Watch {
  readonly reports: Report[] = []
  readonly #patience: number
  readonly #end = new AbortController()
  #wake: () => void = () => {}

  constructor(source: Source, service: string, patience: number) {
    this.#patience = patience
    const report = (what: Report) => {
      this.reports.push(what)
      this.#wake()
    }
    const sink: SourceSink = { update: (endpoints) => report({ endpoints }), fail: (error) => report({ error }) }
    source.watch(service, sink, this.#end.signal)
  }

  end(): void {
    this.#end.abort()
  }

  /** The endpoints of the last update. */
  get endpoints(): readonly EndpointInit[] {
    return this.updates.at(-1) ?? []
  }

  get updates(): readonly (readonly EndpointInit[])[] {
    return this.reports.flatMap((report) => ('endpoints' in report ? [report.endpoints] : []))
  }

  get failures(): readonly unknown[] {
    return this.reports.flatMap((report) => ('error' in report ? [report.error] : []))
  }

  /** Waits until the last update has exactly these places. */
  async sees(...places: Place[]): Promise<void> {
    const expected = texts(places)
    await this.until(
      () => this.updates.length > 0 && texts(this.endpoints).join() === expected.join(),
      () =>
        `endpoints ${expected.join(', ') || '(none)'}; the last update had ${texts(this.endpoints).join(', ') || 'none'}`,
    )
  }

  async until(holds: () => boolean, what: () => string): Promise<void> {
    const deadline = performance.now() + this.#patience

    while (!holds()) {
      const left = deadline - performance.now()
      assert(left > 0, `Waited ${this.#patience} ms for ${what()}`)
      const timeout = new AbortController()
      const news = new Promise<void>((resolve) => {
        this.#wake = resolve
      })
      await Promise.race([news, wait(left, undefined, { signal: timeout.signal }).catch(() => {})])
      timeout.abort()
    }
  }
}

function texts(places: readonly Place[]): string[] {
  return places.map(({ host, port }) => `${host}:${port}`).sort()
}

type Cases = Record<string, (bench: Bench) => Promise<void>>

const KNOWING: Cases = {
  async 'tells the whole set of a service at once'({ watch, users }) {
    const watched = watch(users)
    await watched.until(
      () => watched.updates.length > 0,
      () => 'a first update',
    )

    assert.deepEqual(texts(watched.updates[0] ?? []), texts([A, B]))
  },

  async 'tells endpoints that can be connected to, each by a name of its own'({ watch, users }) {
    const watched = watch(users)
    await watched.sees(A, B)

    const ids = watched.endpoints.map((init) => toEndpoint(init).id)
    assert.equal(new Set(ids).size, 2)
  },

  async 'keeps services apart'({ watch, users, orders }) {
    const [first, second] = [watch(users), watch(orders)]

    await Promise.all([first.sees(A, B), second.sees(C)])
  },

  async 'answers for a service that nobody knows: with none, or with a failure'({ watch, users }) {
    const watched = watch(`nobody-${users}`)
    await watched.until(
      () => watched.reports.length > 0,
      () => 'an update or a failure',
    )

    assert.deepEqual(watched.endpoints, [])
    for (const error of watched.failures) assert(error instanceof Error, 'a failure is an Error')
  },

  async 'tells everybody who watches a service'({ watch, users }) {
    const watches = [watch(users), watch(users)]

    await Promise.all(watches.map((watched) => watched.sees(A, B)))
  },

  async 'says nothing more when its signal has aborted'({ watch, users }) {
    const watched = watch(users)
    watched.end()
    const told = watched.reports.length
    await wait(QUIET)

    assert.equal(watched.reports.length, told)
  },

  async 'takes hints, also about services that nobody watches'({ watch, source, users, orders }) {
    const watched = watch(users)
    source.refresh?.(users)
    source.refresh?.(orders)
    source.refresh?.(`nobody-${users}`)

    await watched.sees(A, B)
  },
}

const CHANGES: Cases = {
  async 'tells of an instance that comes'({ watch, set, users }) {
    const watched = watch(users)
    await watched.sees(A, B)
    await set(users, A, B, C)

    await watched.sees(A, B, C)
  },

  async 'tells of an instance that goes'({ watch, set, users }) {
    const watched = watch(users)
    await watched.sees(A, B)
    await set(users, B)

    await watched.sees(B)
  },

  async 'keeps the name of an instance while others come and go'({ watch, set, users }) {
    const watched = watch(users)
    const idOfB = () => watched.endpoints.map(toEndpoint).find(({ port }) => port === B.port)?.id
    await watched.sees(A, B)
    const before = idOfB()
    await set(users, B, C)
    await watched.sees(B, C)

    assert.equal(idOfB(), before)
  },

  async 'tells of the last instance that goes, and of the next that comes'({ watch, set, orders }) {
    const watched = watch(orders)
    await watched.sees(C)
    await set(orders)
    await watched.sees()
    await set(orders, A)

    await watched.sees(A)
  },

  async 'tells of a service that begins to exist while it is watched'({ watch, set, users }) {
    const service = `later-${users}`
    const watched = watch(service)
    await watched.until(
      () => watched.reports.length > 0,
      () => 'a first report',
    )
    await set(service, A)

    await watched.sees(A)
    await set(service)
  },

  async 'goes on for one watch when another of the same service ends'({ watch, set, users }) {
    const [ended, going] = [watch(users), watch(users)]
    await Promise.all([ended.sees(A, B), going.sees(A, B)])
    ended.end()
    const told = ended.reports.length
    await set(users, A)

    await going.sees(A)
    assert.equal(ended.reports.length, told)
  },
}

const OUTAGES: Cases = {
  async 'tells that it cannot ask, and takes no endpoint away for that'({ watch, outage, users }) {
    const watched = watch(users)
    await watched.sees(A, B)
    const end = await outage()
    await watched.until(
      () => watched.failures.length > 0,
      () => 'a failure',
    )
    await end()

    assert(watched.failures[0] instanceof Error, 'a failure is an Error')
    for (const update of watched.updates) assert.deepEqual(texts(update), texts([A, B]))
  },

  async 'tells again what it knows when it can ask again, changed or not'({ watch, outage, users }) {
    const watched = watch(users)
    await watched.sees(A, B)
    const end = await outage()
    await watched.until(
      () => watched.failures.length > 0,
      () => 'a failure',
    )
    const told = watched.updates.length
    await end()

    await watched.until(
      () => watched.updates.length > told,
      () => 'an update after the outage',
    )
    await watched.sees(A, B)
  },

  async 'fails for a watch that begins in an outage, and answers it afterwards'({ watch, outage, users }) {
    const end = await outage()
    const watched = watch(users)
    await watched.until(
      () => watched.failures.length > 0,
      () => 'a failure',
    )
    assert.equal(watched.updates.length, 0)
    await end()

    await watched.sees(A, B)
  },

  async 'is quiet in an outage when its signal has aborted'({ watch, outage, users }) {
    const end = await outage()
    const watched = watch(users)
    await watched.until(
      () => watched.failures.length > 0,
      () => 'a failure',
    )
    watched.end()
    const told = watched.reports.length
    await wait(QUIET)
    await end()
    await wait(QUIET)

    assert.equal(watched.reports.length, told)
  },
}

const CHANGES_IN_OUTAGES: Cases = {
  async 'tells what changed in an outage when it is over'({ watch, set, outage, users }) {
    const watched = watch(users)
    await watched.sees(A, B)
    const end = await outage()
    await watched.until(
      () => watched.failures.length > 0,
      () => 'a failure',
    )
    await set(users, A, C)
    await end()

    await watched.sees(A, C)
  },
}
