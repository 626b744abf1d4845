import { createSagaEngine, type Definition, type Queryable, type SagaEngine, type Store } from '../index.js'
import type { SagaRow, Transition } from '../store.js'
import type { VirtualClock } from '../testing/clock.js'
import { VERBS } from '../testing/mortal.js'
import { Witness } from './witness.js'
import { define, type Hands, type Input, type Part, type World } from './world.js'

export const LEASE = 60_000
/** No wait of these tests is longer, and nothing but a jump in time is as long. Milliseconds. */
export const HOUR = 3_600_000
/** Moves after which nothing more happens by itself: a retry that is due at once, a first poll, the laziest poll. */
const HOPS = [3, 120, 1_300] as const
const NEVER = new Promise<never>(() => undefined)
/** What leaves a trace; the rest is asked again and again. */
const LEAVES_TRACES: ReadonlySet<string> = new Set(['create', 'commit', 'commitWith', 'spawn', 'receive', 'deliver'])

/** Where a worker dies: at so many calls, or effects, from now. */
export interface Death {
  readonly at: 'store' | 'effect'
  readonly count: number
  readonly side: 'before' | 'after'
}

export interface BenchWorker {
  readonly engine: SagaEngine
  isDead: boolean
  /** Its lease has run out, and what it owned went to others. */
  isBuried: boolean
  arm(death: Death): void
}

export interface BenchStore {
  readonly store: Store<Queryable>
  /** The database that it is in. */
  readonly tables?: Queryable
  /** Moves the store's own clock, where it has one. */
  advance?(ms: number): Promise<void>
}

/** Engines, a store, and a clock that only the test moves: between two moves everything that can happen has happened. */
export class Bench {
  readonly clock: VirtualClock
  readonly world: World
  readonly witness: Witness
  readonly workers: BenchWorker[] = []
  /** Has the definition, and runs nothing. */
  readonly client: SagaEngine
  /** Has no definitions. */
  readonly operator: SagaEngine
  readonly definition: Definition<Input, unknown, string>
  readonly #store: Store<Queryable>
  readonly #bare: Store<Queryable>
  readonly #advance: BenchStore['advance']
  readonly #tables: Queryable | undefined
  readonly #parts: readonly Part[]
  readonly #name: string
  #gates = new Map<string, { readonly opened: Promise<void>; open(): void }>()
  #pending = 0
  #traces = 0

  constructor(
    name: string,
    parts: readonly Part[],
    world: World,
    clock: VirtualClock,
    { store, advance, tables }: BenchStore,
  ) {
    this.#name = name
    this.#parts = parts
    this.world = world
    this.clock = clock
    this.#advance = advance
    this.#tables = tables
    this.witness = new Witness(new Map([[name, parts.map((part) => part.name)]]))
    this.#bare = store
    this.#store = this.#counted(this.witness.watch(store))
    const none: Hands = { do: () => NEVER, undo: () => NEVER, txDo: () => NEVER, txUndo: () => NEVER }
    this.definition = this.#define(none)
    this.client = this.#engine(this.#store, [this.definition])
    this.operator = this.#engine(this.#store, [])
  }

  #define(hands: Hands): Definition<Input, unknown, string> {
    return define(this.#name, this.#parts, hands, { timeout: 2e9, backoff: 0, sleep: HOUR, late: HOUR })
  }

  #engine(store: Store<Queryable>, sagas: readonly Definition<Input, unknown, string>[]): SagaEngine {
    return createSagaEngine({ store, sagas, clock: this.clock, lease: { ttl: LEASE }, random: () => 0.5 })
  }

  #counted(store: Store<Queryable>): Store<Queryable> {
    const counted: Record<string, unknown> = { transactional: true }
    for (const verb of VERBS)
      counted[verb] = async (...args: unknown[]) => {
        this.#pending++
        try {
          const answer = await (store[verb] as (...given: unknown[]) => Promise<unknown>)(...args)
          if (LEAVES_TRACES.has(verb) || (Array.isArray(answer) && answer.length > 0)) this.#traces++
          return answer
        } finally {
          this.#pending--
        }
      }
    return counted as unknown as Store<Queryable>
  }

  /** A step of this order waits before it has its effect, until `release`. */
  hold(order: string, name: string): void {
    let open: () => void = () => undefined
    const opened = new Promise<void>((resolve) => {
      open = resolve
    })
    this.#gates.set(`${order} ${name}`, { opened, open })
  }

  release(order: string, name: string): void {
    this.#gates.get(`${order} ${name}`)?.open()
    this.#gates.delete(`${order} ${name}`)
  }

  async hire(): Promise<BenchWorker> {
    let death: Death | undefined
    let left = 0
    const dies = (at: Death['at']): boolean => death?.at === at && --left === 0
    const worker: BenchWorker = {
      engine: undefined as never,
      isDead: false,
      isBuried: false,
      arm(given) {
        death = given
        left = given.count
      },
    }

    const store: Record<string, unknown> = { transactional: true }
    for (const verb of VERBS)
      store[verb] = async (...args: unknown[]) => {
        if (worker.isDead) return NEVER
        const doomed = LEAVES_TRACES.has(verb) && dies('store')
        if (doomed && death?.side === 'before') worker.isDead = true
        if (worker.isDead) return NEVER
        const answer = await (this.#store[verb] as (...given: unknown[]) => Promise<unknown>)(...args)
        if (doomed) worker.isDead = true
        return worker.isDead ? NEVER : answer
      }

    // A store in this process may answer at once.
    const { now } = this.#bare.commit
    const atOnce = (transition: Transition): boolean | undefined => {
      if (worker.isDead || !now) return undefined
      const doomed = dies('store')
      if (doomed) worker.isDead = true
      if (doomed && death?.side === 'before') return undefined
      this.#traces++
      return now(transition)
    }
    if (now) Object.assign(store['commit'] as object, { now: atOnce })

    const around = async (work: () => unknown): Promise<unknown> => {
      const doomed = dies('effect')
      if (doomed && death?.side === 'before') worker.isDead = true
      if (worker.isDead) return NEVER
      const answer = await work()
      if (doomed) worker.isDead = true
      return worker.isDead ? NEVER : answer
    }
    // A connection goes with its process: the database rolls back what it had begun.
    const within = async (work: () => Promise<unknown>): Promise<unknown> => {
      const answer = await work()
      if (dies('effect')) worker.isDead = true
      if (worker.isDead) throw new Error('the connection went with its process')
      return answer
    }
    const { world } = this
    const hands: Hands = {
      do: async (c, name) => {
        const gate = this.#gates.get(`${c.input.order} ${name}`)
        if (!gate) return around(() => world.do(c.key, c.input.order, name))
        // The request is on its way, whatever becomes of its sender.
        await gate.opened
        const answer = await world.do(c.key, c.input.order, name)
        return worker.isDead ? NEVER : answer
      },
      undo: (c, name) => around(() => world.undo(c.forwardKey, c.input.order, name)),
      txDo: (tx, c, name) => within(() => world.tx(tx, c.input.order, name, false)),
      txUndo: (tx, c, name) => within(() => world.tx(tx, c.input.order, name, true)),
    }
    Object.assign(worker, { engine: this.#engine(store as unknown as Store<Queryable>, [this.#define(hands)]) })
    this.workers.push(worker)
    await worker.engine.run()
    return worker
  }

  /** Until nothing more happens unless time passes, or somebody does something. */
  async settle(): Promise<void> {
    for (let hop = 0; hop < HOPS.length; ) {
      const before = this.#traces
      this.clock.moveTo(this.clock.now() + (HOPS[hop] as number))
      await this.#idle()
      hop = this.#traces === before ? hop + 1 : 0
    }
  }

  async #idle(): Promise<void> {
    for (let quiet = 0; quiet < 3; quiet++) {
      await new Promise(setImmediate)
      if (this.#pending > 0) quiet = -1
    }
  }

  /** The leases of those who do not live any more run out. */
  async bury(): Promise<void> {
    do {
      if (!this.workers.some(({ isDead }) => !isDead)) await this.hire()
      const dead = this.workers.filter(({ isDead }) => isDead)
      for (let i = 0; i < 8; i++) await this.#pass(LEASE / 4)
      for (const worker of dead) worker.isBuried = true
      await this.settle()
      // Somebody may have died of what he took over.
    } while (!this.isCalm)
  }

  async #pass(ms: number): Promise<void> {
    await this.#advance?.(ms)
    this.clock.moveTo(this.clock.now() + ms)
    await this.#idle()
  }

  /** An hour in one leap: every worker finds that it was away for too long. */
  async leap(): Promise<void> {
    await this.#pass(HOUR)
    await this.bury()
  }

  row(id: string): Promise<SagaRow | undefined> {
    return this.#store.load(id)
  }

  /** Tells the world what transactional steps have written, where that is a table. */
  async readTables(): Promise<void> {
    if (this.#tables) await this.world.readFrom(this.#tables)
  }

  /** Whoever died is buried, and all sagas are where they stay. */
  get isCalm(): boolean {
    return this.workers.every(({ isDead, isBuried }) => isDead === isBuried)
  }

  async close(): Promise<void> {
    for (const gate of this.#gates.values()) gate.open()
    await this.#idle()
    const going = this.workers.filter(({ isDead }) => !isDead).map(({ engine }) => engine.close({ timeout: 0 }))
    for (let i = 0; i < 3; i++) await this.#pass(2_000)
    await Promise.all(going)
  }
}
