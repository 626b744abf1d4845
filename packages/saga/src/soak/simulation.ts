import {
  createSagaEngine,
  type Definition,
  memoryStore,
  type Queryable,
  type SagaEngine,
  type Store,
} from '../index.js'
import type { StepContext } from '../step.js'
import type { Transition } from '../store.js'
import { VERBS } from '../testing/mortal.js'
import { type Chance, chanceOf } from './chance.js'
import { mutate, type Plant } from './mutants.js'
import { Process, Timeline } from './timeline.js'
import { Witness } from './witness.js'
import {
  define,
  type Effect,
  effectsOf,
  FATAL,
  type Hands,
  happened,
  type Input,
  type Pace,
  type Part,
  World,
  waitsOf,
} from './world.js'

/*
 * Workers, a store and a service that they call, in one thread, on one clock, with one queue: everything that an engine
 * waits for (a timer, an answer of the store, an answer of a step) is in it, so that a seed decides all that happens.
 *
 * First everything goes wrong that can: requests and answers are lost or late, processes die, or stop for longer than their
 * lease lasts and come back, or are cut off from the store. Then nothing more goes wrong, and every saga must end.
 */
export interface SimulationOptions {
  readonly seed: number
  /** The name of a bug to plant in the store, to see that it is found. */
  readonly mutant?: string | undefined
  readonly say?: ((line: string) => void) | undefined
}

export interface SimulationReport {
  readonly seed: number
  readonly problems: readonly string[]
  readonly sagas: number
  /** How the sagas ended. */
  readonly ends: Readonly<Record<string, number>>
  /** What went wrong, by kind. */
  readonly faults: Readonly<Record<string, number>>
  /** Calls that reached the store, and a hash of them all: the same for the same seed. */
  readonly calls: number
  readonly digest: string
}

const TTL = 1_000
const TROUBLE = 25_000
/** Virtual time in which everything must have ended when nothing goes wrong any more. */
const PATIENCE = 900_000
const PACE: Pace = { timeout: 2_500, backoff: 80, sleep: 1_500, late: 2_000 }
const WORKERS = 3

interface Order {
  readonly id: string
  readonly definition: number
  readonly doomed: boolean
  readonly deadline: number | undefined
  saga: string | undefined
  cancelled: boolean
  answer: string | undefined
}

interface Worker {
  readonly process: Process
  readonly engine: SagaEngine
  readonly definitions: readonly Definition<Input, unknown, string>[]
}

export async function simulate({ seed, mutant, say }: SimulationOptions): Promise<SimulationReport> {
  const restore = seedIds(chanceOf(seed ^ 0x5eed))
  try {
    return await new Simulation(seed, mutant, say).run()
  } finally {
    restore()
  }
}

class Simulation {
  readonly #seed: number
  readonly #mutant: string | undefined
  readonly #chance: Chance
  readonly #timeline = new Timeline()
  readonly #world = new World()
  readonly #store: Store<Queryable>
  readonly #bare: Store<Queryable>
  readonly #witness: Witness
  readonly #shapes: readonly (readonly Part[])[]
  #deskDefinitions: readonly Definition<Input, unknown, string>[] = []
  readonly #orders: Order[] = []
  readonly #faults: Record<string, number> = {}
  readonly #workers: Worker[] = []
  readonly #cutOff = new Set<Process>()
  readonly #say: (line: string) => void
  #calm = false
  #calls = 0
  #digest = 0x811c9dc5
  #born = 0

  constructor(seed: number, mutant: SimulationOptions['mutant'], say: SimulationOptions['say']) {
    this.#seed = seed
    this.#mutant = mutant
    this.#chance = chanceOf(seed)
    this.#say = say ?? (() => undefined)
    this.#shapes = Array.from({ length: 3 }, () => shapeBy(this.#chance))
    this.#witness = new Witness(new Map(this.#shapes.map((parts, i) => [`order${i}`, namesOf(parts)])))
    const clock = { now: () => this.#timeline.now() }
    this.#bare = memoryStore({ clock, transaction: this.#world.transaction })
    const plant: Plant = {
      pause: () => this.#timeline.sleep(this.#chance.int(1, 1_000)),
      transaction: this.#world.transaction,
      dies: () => !this.#calm && this.#chance.so(0.05),
    }
    this.#store = this.#witness.watch(mutant === undefined ? this.#bare : mutate(mutant, this.#bare, plant))
  }

  async run(): Promise<SimulationReport> {
    for (let i = 0; i < WORKERS; i++) this.#beginWorker(i)
    const client = new Process(this.#timeline, 'client')
    this.#deskDefinitions = this.#definitionsFor(client)
    const desk = this.#engineOf(client, this.#deskDefinitions)
    const orders = this.#chance.int(4, 9)
    for (let i = 0; i < orders; i++) void this.#order(i, desk)
    this.#plan(() => this.#trouble())

    let over = false
    this.#timeline.after(TROUBLE, () => {
      this.#calm = true
      this.#cutOff.clear()
      for (const [i, { process }] of this.#workers.entries()) {
        process.go()
        if (!process.lives) this.#beginWorker(i)
      }
    })
    this.#timeline.after(TROUBLE + PATIENCE, () => {
      over = true
    })
    this.#plan(() => this.#operate(desk))

    await this.#timeline.until(() => over || this.#problems().length > 0 || (this.#calm && this.#isOver()))
    await this.#judge()
    return {
      seed: this.#seed,
      problems: this.#problems(),
      sagas: this.#orders.length,
      ends: Object.fromEntries(this.#ends),
      faults: this.#faults,
      calls: this.#calls,
      digest: (this.#digest >>> 0).toString(16),
    }
  }

  readonly #ends = new Map<string, number>()
  readonly #blames: string[] = []

  #problems(): string[] {
    return [...this.#witness.problems, ...this.#world.problems, ...this.#blames]
  }

  /** Again and again, at moments of chance. */
  #plan(what: () => void, most = 1_500): void {
    this.#timeline.after(this.#chance.int(100, most), () => {
      what()
      this.#plan(what, most)
    })
  }

  #fault(kind: string): void {
    this.#faults[kind] = (this.#faults[kind] ?? 0) + 1
    this.#say(`${this.#timeline.now()} ${kind}`)
  }

  #trouble(): void {
    if (this.#calm) return

    const at = this.#chance.int(0, WORKERS - 1)
    const { process } = this.#workers[at] as Worker
    if (!process.lives || process.isStopped || this.#cutOff.has(process)) return
    const kind = this.#chance.int(0, 3)
    if (kind === 0) {
      this.#fault(`${process.name} dies`)
      process.kill()
      this.#timeline.after(this.#chance.int(50, 3_000), () => !this.#calm && this.#beginWorker(at))
    } else if (kind === 1) {
      this.#fault(`${process.name} is cut off`)
      this.#cutOff.add(process)
      this.#timeline.after(this.#chance.int(100, 3_000), () => void this.#cutOff.delete(process))
    } else {
      this.#fault(`${process.name} stops`)
      process.stop()
      this.#timeline.after(this.#chance.int(50, 5_000), () => process.go())
    }
  }

  #beginWorker(at: number): void {
    const process = new Process(this.#timeline, `worker${at}.${this.#born++}`)
    const definitions = this.#definitionsFor(process)
    const engine = this.#engineOf(process, definitions)
    this.#workers[at] = { process, engine, definitions }
    const begin = (): void => {
      void engine.run().catch(() => process.clock.after(200, begin))
    }
    begin()
  }

  #definitionsFor(process: Process): readonly Definition<Input, unknown, string>[] {
    return this.#shapes.map((parts, i) => define(`order${i}`, parts, this.#handsOf(process), PACE))
  }

  #engineOf(process: Process, definitions = this.#definitionsFor(process)): SagaEngine {
    return createSagaEngine({
      store: this.#storeOf(process),
      sagas: definitions,
      clock: process.clock,
      lease: { ttl: TTL },
      random: this.#chance.next,
      concurrency: this.#chance.int(2, 8),
    })
  }

  /** How a process reaches the service: requests take time, and what it does when it is dead or stopped is done later or never. */
  #handsOf(process: Process): Hands {
    const away = <T>(work: () => T | Promise<T>, isPivot: boolean): Promise<T> =>
      new Promise((resolve, reject) => {
        const loses = !this.#calm && this.#chance.so(0.03)
        this.#timeline.after(this.#late(), () => {
          if (loses && this.#chance.so(0.5)) {
            this.#fault('a request of a step is lost')
            return
          }
          const answer = (settle: () => void): void =>
            void this.#timeline.after(this.#late(), () => {
              if (loses) this.#fault('an answer to a step is lost')
              // Whoever makes a pivot fail says that it has not happened; a lost answer is silence.
              if (!loses) process.reach(settle)
              else if (!isPivot) process.reach(() => reject(new Error('connection lost')))
            })
          let done: Promise<T>
          try {
            done = Promise.resolve(work())
          } catch (error) {
            done = Promise.reject(error)
          }
          done.then(
            (value) => answer(() => resolve(value)),
            (error) => answer(() => reject(error)),
          )
        })
      })
    const order = (c: StepContext<Input, unknown>): string => c.input.order
    const world = this.#world
    // A transaction is a connection of this process: what it has not sent when it dies is never sent.
    const within = async <T>(work: () => Promise<T>): Promise<T> => {
      await this.#reached(process, this.#late())
      return work()
    }
    return {
      do: (c, name) => away(() => world.do(c.key, order(c), name), name.startsWith('pivot')),
      undo: (c, name) => away(() => world.undo(c.forwardKey, order(c), name), false),
      txDo: (tx, c, name) => within(() => world.tx(tx, order(c), name, false)),
      txUndo: (tx, c, name) => within(() => world.tx(tx, order(c), name, true)),
    }
  }

  #reached(process: Process, ms: number): Promise<void> {
    return new Promise((resolve) => void this.#timeline.after(ms, () => process.reach(resolve)))
  }

  #late(): number {
    if (!this.#calm && this.#chance.so(0.04)) return this.#chance.int(100, 2_000)
    return this.#chance.int(0, 30)
  }

  /** The store as this process reaches it. */
  #storeOf(process: Process): Store<Queryable> {
    const wrapped: Record<string, unknown> = { transactional: true }
    for (const verb of VERBS)
      wrapped[verb] = (...args: unknown[]) =>
        new Promise((resolve, reject) => {
          const isOff = (): boolean => this.#cutOff.has(process)
          const fails = !this.#calm && this.#chance.so(0.04)
          const before = fails && this.#chance.so(0.4)
          const gone = (): void => {
            this.#fault(`${before ? 'a request' : 'an answer'} is lost`)
            this.#timeline.after(this.#late(), () => process.reach(() => reject(new Error('connection lost'))))
          }
          const arrive = (): void => {
            if (before || isOff()) {
              gone()
              return
            }
            this.#note(`${process.name} ${verb}`)
            this.#call(process, verb, args).then(
              (answer) => {
                if (fails || isOff()) gone()
                else this.#timeline.after(this.#late(), () => process.reach(() => resolve(answer)))
              },
              (error) => this.#timeline.after(this.#late(), () => process.reach(() => reject(error))),
            )
          }
          // What is sent arrives, whatever becomes of the sender; a dialogue needs him.
          const talks = verb === 'receive' || verb === 'commitWith'
          this.#timeline.after(this.#late(), talks ? () => process.reach(arrive) : arrive)
        })
    // A store in this process may answer at once, and then nothing comes between the question and the answer.
    const { now } = this.#bare.commit
    const atOnce = (transition: Transition): boolean | undefined => {
      if (this.#mutant !== undefined || !now || this.#cutOff.has(process) || this.#chance.so(0.5)) return undefined
      this.#note(`${process.name} commit at once`)
      const accepted = now(transition)
      void this.#see(transition.id)
      return accepted
    }
    Object.assign(wrapped['commit'] as object, { now: atOnce })
    return wrapped as unknown as Store<Queryable>
  }

  #note(what: string): void {
    this.#calls++
    for (const char of `${this.#timeline.now()} ${what}`)
      this.#digest = Math.imul(this.#digest ^ (char.codePointAt(0) as number), 0x01000193)
  }

  async #call(process: Process, verb: (typeof VERBS)[number], args: unknown[]): Promise<unknown> {
    if (verb !== 'commitWith') {
      const answer = await (this.#store[verb] as (...given: unknown[]) => Promise<unknown>)(...args)
      await this.#lookAt(verb, args, answer)
      return answer
    }

    // A transaction ends with its process, and with the patience of the database.
    const [guard, run, idle = Infinity] = args as Parameters<Store<Queryable>['commitWith']>
    let forget = (): void => undefined
    const broken = new Promise<never>((_, reject) => {
      const lose = (): void => reject(new Error('the transaction was rolled back'))
      const removals = [process.onDeath(lose), idle === Infinity ? () => undefined : this.#timeline.after(idle, lose)]
      forget = () => {
        for (const remove of removals) remove()
      }
    })
    broken.catch(() => undefined)
    try {
      const answer = await this.#store.commitWith(guard, (tx) => Promise.race([run(tx), broken]))
      await this.#see(guard.id)
      return answer
    } finally {
      forget()
    }
  }

  async #lookAt(verb: string, args: readonly unknown[], answer: unknown): Promise<void> {
    const [first] = args
    if (verb === 'commit') for (const { id } of first as { id: string }[]) await this.#see(id)
    else if (verb === 'claim') for (const { id } of answer as { id: string }[]) await this.#see(id)
    else if (verb === 'create') await this.#see((answer as { saga: { id: string } }).saga.id)
    else if (verb === 'spawn') await this.#see((first as { id: string }).id)
    else if (verb === 'receive') await this.#see(first as string)
  }

  async #see(id: string): Promise<void> {
    const row = await this.#bare.load(id)
    if (row) this.#witness.see(row)
  }

  /** A customer: starts an order, until it is known to be started, and may cancel it; the events that it waits for come some time. */
  async #order(i: number, desk: SagaEngine): Promise<void> {
    const chance = this.#chance
    const definition = chance.int(0, this.#shapes.length - 1)
    const parts = this.#shapes[definition] as readonly Part[]
    const effects = fatesFor(parts, chance)
    const { undoable, final } = effectsOf(parts)
    const pivot = final[0]
    const turns = effects.filter(({ name }) => undoable.includes(name) || name === pivot)
    const id = `o${i}`
    const order: Order = {
      id,
      definition,
      doomed: turns.some(({ fate }) => FATAL.has(fate)),
      deadline: chance.so(0.15) ? chance.int(500, 12_000) : undefined,
      saga: undefined,
      cancelled: false,
      answer: undefined,
    }
    this.#orders.push(order)
    this.#world.fate(id, effects)
    const lock = chance.so(0.2) ? 'a resource' : undefined
    const willCancel = chance.so(0.3)
    const delay = chance.so(0.2) ? chance.int(1, 3_000) : 0

    await this.#timeline.sleep(chance.int(0, 10_000))
    for (const wait of waitsOf(parts))
      this.#timeline.after(chance.int(0, 15_000), () => {
        void this.#insist(() => desk.send(happened, `${id} ${wait}`, { order: id }, { messageId: `${id} ${wait}` }))
      })
    for (const { kind, name } of parts)
      if (kind === 'late' && chance.so(0.5))
        this.#timeline.after(chance.int(0, 15_000), () => {
          void this.#insist(() => desk.send(happened, `${id} ${name}`, { order: id }, { messageId: `${id} ${name}` }))
        })

    const starting = { key: id, deadline: order.deadline, lock, delay }
    const near = chance.so(0.6) ? this.#workers[chance.int(0, WORKERS - 1)] : undefined
    if (near?.process.lives) {
      // Somebody who asks a worker and, when it does not answer, the desk.
      const asked = near.engine.start(near.definitions[definition] as never, { order: id } as never, starting)
      await Promise.race([asked.catch(() => undefined), this.#timeline.sleep(4_000)])
    }
    const known = this.#deskDefinitions[definition] as Definition<Input, unknown, string>
    order.saga = (await this.#insist(() => desk.start(known, { order: id }, starting))).id

    if (!willCancel) return
    await this.#timeline.sleep(chance.int(0, 8_000))
    order.cancelled = true
    order.answer = await this.#insist(() => desk.cancel(order.saga as string, { reason: 'the customer' }))
  }

  async #insist<T>(ask: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await ask()
      } catch (error) {
        if ((error as Error).message !== 'connection lost')
          this.#blames.push(`the desk was told: ${(error as Error).message}`)
        await this.#timeline.sleep(150)
      }
    }
  }

  /** Somebody repairs what is broken, some time, and resumes what is stuck. */
  #operate(desk: SagaEngine): void {
    void (async () => {
      const stuck = await desk.list({ status: 'stuck' }, { limit: 1_000 })
      for (const { id, rev, step = '', input, error } of stuck.items) {
        const { order } = input as Input
        this.#world.repair(order)
        // A pivot that may have happened: its operator asks the service, and says what he has heard.
        const undo = step.startsWith('pivot') && this.#world.isHopeless(order, step)
        await desk.resume(id, { do: undo ? 'compensate' : 'retry', step, by: 'op', reason: 'repaired', rev })
        this.#say(`${this.#timeline.now()} ${id} was stuck at ${step}: ${error?.message}`)
      }
    })().catch(() => undefined)
  }

  /** All orders are placed and answered, and no saga is open. */
  #isOver(): boolean {
    if (this.#orders.some(({ saga, cancelled, answer }) => saga === undefined || (cancelled && answer === undefined)))
      return false
    if (this.#timeline.now() - this.#looked < 500) return false

    this.#looked = this.#timeline.now()
    void this.#bare.list({ limit: 1_000 }).then((rows) => {
      this.#open = rows.filter(({ finishedAt }) => finishedAt === undefined).length
    })
    return this.#open === 0
  }
  #looked = 0
  #open = -1

  async #judge(): Promise<void> {
    const rows = await this.#bare.list({ limit: 1_000 })
    for (const { id } of rows) await this.#see(id)
    if (this.#problems().length > 0) return

    for (const order of this.#orders) {
      const row = rows.find(({ id }) => id === order.saga)
      const status = row?.progress.status ?? 'missing'
      this.#ends.set(status, (this.#ends.get(status) ?? 0) + 1)
      const blame = (what: string): void =>
        void this.#blames.push(`${order.id} (order${order.definition}) is ${status}: ${what}`)
      const { undoable, final } = effectsOf(this.#shapes[order.definition] as readonly Part[])
      const applied = this.#world.appliedOf(order.id).sort()

      if (status === 'completed') {
        if (order.doomed) blame('a step of it can never be done')
        if (order.answer === 'compensating') blame('its cancel was accepted')
        if (applied.join() !== [...undoable, ...final].sort().join()) blame(`what is applied is ${applied}`)
        // I7: what is done is written down, by the same write.
        const { records = [] } = (await this.#bare.load(order.saga as string)) ?? {}
        const written = new Set(
          records.filter(({ outcome }) => outcome === 'ok' || outcome === 'skipped').map(({ name }) => name),
        )
        const unwritten = namesOf(this.#shapes[order.definition] as readonly Part[]).filter(
          (name) => !written.has(name),
        )
        if (unwritten.length > 0) blame(`nothing is written of ${unwritten}`)
      } else if (status === 'compensated' || status === 'cancelled') {
        if (status === 'cancelled' && !order.cancelled) blame('nobody cancelled it')
        if (status === 'compensated' && !order.doomed && order.deadline === undefined)
          blame('nothing of it failed for good')
        if (order.answer === 'refused-after-pivot' && !order.doomed && status === 'cancelled')
          blame('its cancel was refused')
        if (applied.length > 0) blame(`what is applied is ${applied}`)
      } else {
        const detail = row && (await this.#bare.load(row.id))
        blame(`it came to no end: ${JSON.stringify(detail)}`)
      }
    }
  }
}

function namesOf(parts: readonly Part[]): string[] {
  return parts.flatMap((part) =>
    part.kind === 'parallel'
      ? part.of.map(({ kind, name }) => (kind === 'child' ? `${name}-child` : name))
      : [part.name],
  )
}

function shapeBy(chance: Chance): Part[] {
  const parts: Part[] = []
  const length = chance.int(1, 6)
  const pivotAt = chance.so(0.7) ? chance.int(0, length - 1) : -1
  for (let i = 0; i < length; i++) {
    if (i === pivotAt) {
      parts.push({ kind: chance.of(['pivot', 'pivot', 'txPivot']), name: `pivot${i}` })
      continue
    }
    const kind = chance.of([
      'step',
      'step',
      'step',
      'txStep',
      'wait',
      'late',
      'sleep',
      'skipped',
      'child',
      'parallel',
    ] as const)
    const name = `s${i}`
    if (kind === 'child')
      parts.push({ kind, name, steps: Array.from({ length: chance.int(1, 2) }, (_, j) => `${name}c${j}`) })
    else if (kind === 'parallel')
      parts.push({
        kind,
        name,
        of: Array.from({ length: chance.int(2, 3) }, (_, j) => ({
          kind: chance.of(['step', 'step', 'txStep', 'wait', 'child'] as const),
          name: `${name}b${j}`,
        })),
        concurrency: chance.int(1, 3),
      })
    else parts.push({ kind, name })
  }
  return parts
}

function fatesFor(parts: readonly Part[], chance: Chance): Effect[] {
  const { undoable, final } = effectsOf(parts)
  const transactional = new Set(
    parts.flatMap((part) =>
      part.kind === 'parallel'
        ? part.of.filter(({ kind }) => kind === 'txStep').map(({ name }) => name)
        : part.kind === 'txStep' || part.kind === 'txPivot'
          ? [part.name]
          : [],
    ),
  )
  const inChildren = new Set(
    parts.flatMap((part) =>
      part.kind === 'child'
        ? part.steps
        : part.kind === 'parallel'
          ? part.of.filter(({ kind }) => kind === 'child').map(({ name }) => name)
          : [],
    ),
  )
  return [...undoable, ...final].map((name): Effect => {
    const isPivot = name === final[0]
    const isFinal = final.includes(name) && !isPivot
    const mild = transactional.has(name)
      ? (['flaky'] as const)
      : isPivot
        ? (['flaky', 'hangs'] as const)
        : (['flaky', 'answer lost', 'hangs'] as const)
    const fatal =
      isPivot || transactional.has(name)
        ? (['refused', 'fails'] as const)
        : (['refused', 'fails', 'applied, then fails'] as const)
    const dies = !isFinal && chance.so(0.12)
    const fate = dies
      ? chance.of(fatal)
      : chance.so(0.3)
        ? chance.of(mild)
        : isFinal && !inChildren.has(name) && chance.so(0.1)
          ? 'broken'
          : 'works'
    return { name, fate, undo: chance.so(0.15) ? chance.of(['flaky', 'broken'] as const) : 'works' }
  })
}

/** Ids are the one thing that engines draw themselves: from here on they are drawn by the seed. */
function seedIds(chance: Chance): () => void {
  const { randomUUID } = crypto
  const { now } = Date
  const epoch = 1_700_000_000_000
  let drawn = 0
  const hex = (length: number): string => Array.from({ length }, () => chance.int(0, 15).toString(16)).join('')
  crypto.randomUUID = () => `${hex(8)}-${hex(4)}-4${hex(3)}-a${hex(3)}-${hex(12)}`
  Date.now = () => epoch + drawn++
  return () => {
    crypto.randomUUID = randomUUID
    Date.now = now
  }
}
