import { type Definition, definitionOf, planOf } from '../definition.js'
import { createSagaEngine, type SagaEngine } from '../engine.js'
import { memoryStore } from '../memory.js'
import type { Plan, PlannedStep } from '../plan.js'
import type { SagaRow, Store } from '../store.js'
import { type VirtualClock, virtualClock } from './clock.js'

/** What stands between the engine and a step of the user. */
export type Around = (step: PlannedStep, undo: boolean, work: () => unknown) => unknown

/** A lease that outlives what tests do with time, and what passes before a dead process is noticed. Milliseconds. */
export const LEASE = 60_000
/** Polls come a little later than what they look for. Milliseconds. */
const LATE = 20
/** A step that is tried without end would be tried without end. */
const MOST_STOPS = 2_000
/** Turns of the event loop in which nothing happens before nothing more is expected. */
const QUIET = 4

/** An engine, a store and a clock that only the test moves. */
export class Stage {
  readonly clock: VirtualClock = virtualClock()
  readonly store: Store<unknown>
  readonly definition: Definition<never, unknown, unknown, unknown>
  /** Callbacks of the user that are running. */
  #inside = 0
  #left: (() => void) | undefined

  constructor(definition: unknown, tx: unknown, around: Around) {
    const nothing = { query: async () => ({ rows: [] }) }
    const transaction = async (run: (given: never) => unknown) => run((tx ?? nothing) as never)
    this.store = memoryStore({ clock: this.clock, transaction: transaction as never }) as Store<unknown>
    this.definition = definitionOf(this.#watched(planOf(definition), around)) as never
  }

  engine(store: Store<unknown> = this.store): SagaEngine<unknown> {
    return createSagaEngine({
      store,
      sagas: [this.definition],
      clock: this.clock,
      lease: { ttl: LEASE },
      random: () => 0.5,
    })
  }

  /** The same saga with `around` about everything that its author wrote, in its children too. */
  #watched(plan: Plan, around: Around): Plan {
    const watch = (step: PlannedStep, undo: boolean, work: () => unknown): Promise<unknown> => {
      this.#inside++
      const ended = (): void => {
        this.#inside--
        this.#left?.()
      }
      return new Promise((resolve) => resolve(around(step, undo, work))).finally(ended)
    }
    const steps = plan.steps.map((step): PlannedStep => {
      const { run, compensate, child } = step
      return {
        ...step,
        run: (tx, c) => watch(step, false, () => run(tx, c)),
        compensate:
          compensate && (step.kind === 'child' ? compensate : (tx, c) => watch(step, true, () => compensate(tx, c))),
        child: child && { ...child, plan: this.#watched(child.plan, around) },
      }
    })
    return { ...plan, steps }
  }

  /** Until nothing more happens by itself. What the user's own code waits for is waited for. */
  async settle(): Promise<void> {
    for (let quiet = 0; quiet < QUIET; quiet++) {
      if (this.#inside > 0) {
        quiet = 0
        await new Promise<void>((resolve) => {
          this.#left = resolve
        })
      }
      this.clock.moveTo(this.clock.now())
      await new Promise(setImmediate)
    }
  }

  /** Moves time on by `ms`, with a stop wherever a saga is due. */
  async advance(ms: number): Promise<void> {
    const end = this.clock.now() + ms
    while (this.clock.now() < end) {
      const due = await this.#nextDue(() => true)
      this.clock.moveTo(Math.min(end, this.clock.now() + (due ?? ms)))
      await this.settle()
    }
  }

  /** Moves time on for as long as one of these sagas will be due. */
  async skip(isWanted: (row: SagaRow) => boolean): Promise<void> {
    for (let stops = 0; stops < MOST_STOPS; stops++) {
      const due = await this.#nextDue(isWanted)
      if (due === undefined) return
      this.clock.moveTo(this.clock.now() + due)
    }
  }

  /** Milliseconds until the next of these sagas is due; undefined when none is. */
  async #nextDue(isWanted: (row: SagaRow) => boolean): Promise<number | undefined> {
    await this.settle()
    const rows = await this.store.list({ limit: 1_000 })
    const dues = rows.filter(isWanted).map(({ wakeAt, now }) => (wakeAt === undefined ? Infinity : wakeAt - now))
    const due = Math.min(...dues)
    return due === Infinity ? undefined : Math.max(0, due) + LATE
  }
}
