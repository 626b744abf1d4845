import { Committer } from './committer.js'
import { isSagaConflictError, LeaseLostError, restoreError } from './errors.js'
import type { Emit } from './events.js'
import type { Held } from './held.js'
import { MAX_DURATION } from './internal/check.js'
import type { Timers } from './internal/timers.js'
import { tokens } from './internal/uuid.js'
import { outlineOf } from './outline.js'
import type { Plan } from './plan.js'
import { Run, type RunnerParts } from './runner.js'
import { unknownVersion } from './state.js'
import type { SagaRow, Store } from './store.js'
import type { Telemetry } from './telemetry.js'

export interface WorkerParts {
  readonly store: Store<unknown>
  readonly timers: Timers
  readonly random: () => number
  readonly emit: Emit
  readonly plans: ReadonlyMap<string, Plan>
  readonly concurrency: number
  readonly ttl: number
  /** Told after each accepted write that ends a run. */
  readonly onRelease: (saga: Held, wakeIn: number | undefined) => void
  /** Told when a saga is run here no longer, and was not released: lost, or another engine's. */
  readonly onGone: (id: string) => void
  readonly nextId: RunnerParts['nextId']
  readonly maxStepBytes: number
  readonly cancel: RunnerParts['cancel']
  readonly recall: RunnerParts['recall']
  readonly telemetry: Telemetry | undefined
  readonly onUnknownVersion: 'leave' | 'park'
}

/** Idle polls start at `first` and double up to `last`, in milliseconds. */
const IDLE = { first: 50, last: 1_000 }
/** How long a saga started in a caller's transaction is looked for eagerly, in milliseconds. */
const EXPECTED_FOR = 5_000
const SWEEP_EVERY = 1_000
/** Due in so many milliseconds is due now. */
const SOON = 5
const PARKED_AT_ONCE = 100
/** How often steps with long limits are looked at, in milliseconds. */
const LOOK_EVERY = 50
/** More due times than these are left to the idle polls. */
const DUES = 1_000
/** What aborted runs get to notice it, in milliseconds. */
const ABORT_TAKES = 1_000

export const planKey = (name: string, version: number): string => `${name}/${version}`

/**
 * Owns a lease, claims due sagas and runs them. Polling is the truth; what this process knows (a start, a retry that
 * falls due, a free place) only makes a poll come sooner.
 */
export class Worker {
  readonly #parts: WorkerParts
  readonly #runs = new Map<string, Run>()
  /** Those, and the ones that have left their place and are not over yet. */
  readonly #going = new Set<Run>()
  /** Ids that a caller's transaction may commit at any moment, and when they were written. */
  readonly #expected = new Map<string, number>()
  /** When sagas fall due that this process gave back: a poll at each of these moments finds one. */
  readonly #dues = new Set<number>()
  /** Sagas that are being created as this worker's own. */
  readonly #births = new Set<string>()
  /** An answer was lost that may have told of sagas we own: from now on each poll looks for those we do not know of. */
  #inDoubt = false
  /** Such a poll is under way: what is born meanwhile would look astray to it. */
  #collecting = false
  #id: string | undefined
  #state: 'new' | 'running' | 'closing' | 'closed' = 'new'
  #starting: Promise<void> | undefined
  #watching = false
  #idle = IDLE.first
  #nextPoll: { at: number; cancel: () => void } | undefined
  #polling: Promise<void> | undefined
  #again = false
  readonly #loops = new Map<string, () => void>()
  /** No more housekeeping. */
  #halted = false
  readonly #ticking = new Set<Promise<void>>()
  #idleWaiters: (() => void)[] = []
  readonly #runner: RunnerParts

  constructor(parts: WorkerParts) {
    this.#parts = parts
    this.#runner = {
      ...parts,
      committer: new Committer(parts.store, parts.timers.now, (rows, took) => parts.emit('batch', { rows, took })),
      isClosing: () => this.isClosing,
      onRelease: (run, saga, wakeIn) => {
        // The answer may have come late, to a saga that was claimed again meanwhile: the place is its new run's.
        if (this.#runs.get(run.id) === run) this.#leave(run.id)
        parts.onRelease(saga, wakeIn)
      },
      onEnd: (run, failure) => this.#ended(run, failure),
      onLongLimit: () => this.#watch(),
      onSpawn: () => this.poke(0),
      token: tokens(),
    }
  }

  /** The worker that a new saga may belong to right away, when there is room for one. */
  get home(): string | undefined {
    if (this.#state !== 'running' || this.#collecting) return undefined
    return this.#runs.size < this.#parts.concurrency ? this.#id : undefined
  }

  /** Creates a saga as this worker's own; `launch` is to follow at once when it is. */
  async bear<B extends { readonly saga: SagaRow }>(id: string, create: () => Promise<B>): Promise<B> {
    this.#births.add(id)
    try {
      const born = await create()
      if (born.saga.id !== id || born.saga.worker === undefined) this.#births.delete(id)
      return born
    } catch (error) {
      this.#births.delete(id)
      if (!isSagaConflictError(error)) this.#doubt()
      throw error
    }
  }

  get isClosing(): boolean {
    return this.#state === 'closing' || this.#state === 'closed'
  }

  /** Resolves when it has a lease, for all who ask; after a failure it may be asked again. */
  start(): Promise<void> {
    this.#starting ??= this.#start().catch((error: unknown) => {
      this.#starting = undefined
      throw error
    })
    return this.#starting
  }

  async #start(): Promise<void> {
    if (this.#state !== 'new') return

    this.#state = 'running'
    try {
      const { store, plans } = this.#parts
      const described = [...plans.values()].map((plan) => ({
        name: plan.name,
        version: plan.version,
        outline: outlineOf(plan),
      }))
      if (described.length > 0) await store.describe(described)
      await this.#enlist()
      await store.sweep()
    } catch (error) {
      if (this.#state === 'running') this.#state = 'new'
      throw error
    }
    if (this.isClosing) return
    this.#every('beat', this.#parts.ttl / 3, () => this.#beat())
    this.#listen()
    this.#every('sweep', Math.min(SWEEP_EVERY, this.#parts.ttl / 3), () => this.#sweep())
    this.poke(0)
  }

  /** Another process has told that something is due. */
  #listen(): void {
    const heard = (): void => {
      this.#idle = IDLE.first
      this.#poll()
    }
    const failed = (error: unknown): void => this.#parts.emit('storeError', { during: 'listen', error })
    const stop = this.#parts.store.hints?.listen(heard, failed)
    if (stop) this.#loops.set('listen', stop)
  }

  /** Something falls due in `ms`: polls then, whatever else is planned. */
  poke(ms: number): void {
    if (ms > 0 && this.#dues.size < DUES) this.#dues.add(this.#parts.timers.now() + ms)
    if (ms <= SOON && (this.#state !== 'running' || this.#runs.size >= this.#parts.concurrency)) void this.#tell()
    this.#pollIn(ms)
  }

  /** Others may take what is due now. */
  async #tell(): Promise<void> {
    try {
      await this.#parts.store.hints?.tell()
    } catch (error) {
      this.#parts.emit('storeError', { during: 'notify', error })
    }
  }

  /** Polls in `ms`, or sooner when that was planned already. */
  #pollIn(ms: number): void {
    if (this.#state !== 'running') return

    const { timers } = this.#parts
    const at = timers.now() + ms
    if (this.#nextPoll && this.#nextPoll.at <= at) return

    this.#nextPoll?.cancel()
    const cancel = timers.after(Math.min(ms, MAX_DURATION), () => {
      this.#nextPoll = undefined
      this.#poll()
    })
    this.#nextPoll = { at, cancel }
  }

  /** A caller's transaction wrote this saga: it can be claimed as soon as that commits, which nobody will tell us. */
  expect(id: string): void {
    this.#expected.set(id, this.#parts.timers.now())
    this.poke(0)
  }

  /** Something was delivered: now, or as soon as the caller's transaction commits, which nobody will tell us. */
  rouse(later: boolean): void {
    if (later) this.#expected.set(crypto.randomUUID(), this.#parts.timers.now())
    this.poke(0)
  }

  /** Runs a saga that this worker owns. */
  launch(row: SagaRow): Run | undefined {
    const plan = this.#parts.plans.get(planKey(row.name, row.version))
    if (!plan) return undefined

    this.#expected.delete(row.id)
    this.#births.delete(row.id)
    const run = new Run(this.#runner, plan, row)
    this.#runs.set(row.id, run)
    this.#going.add(run)
    run.go()
    return run
  }

  /** Looks at the steps under way for as long as there are any. */
  #watch(): void {
    if (this.#watching) return

    this.#watching = true
    this.#parts.timers.after(LOOK_EVERY, () => {
      this.#watching = false
      const now = this.#parts.timers.now()
      for (const run of [...this.#going]) run.expireAt(now)
      if (this.#going.size > 0) this.#watch()
    })
  }

  #ended(run: Run, failure: { readonly error: unknown } | undefined): void {
    if (failure) {
      this.#parts.emit('storeError', { during: 'run', error: failure.error })
      this.#doubt()
    }
    if (this.#runs.get(run.id) === run) {
      this.#leave(run.id)
      this.#parts.onGone(run.id)
    }
    this.#going.delete(run)
    if (this.#going.size === 0) for (const wake of this.#idleWaiters.splice(0)) wake()
  }

  /** Sagas that run in this process. */
  get running(): number {
    return this.#runs.size
  }

  /** Whether this process runs the saga. */
  runs(id: string): boolean {
    return this.#runs.has(id)
  }

  /** Its place is free for another. */
  #leave(id: string): void {
    if (this.#runs.delete(id) && this.#runs.size === this.#parts.concurrency - 1) this.poke(0)
  }

  /** Tells a running step of this process that its saga was cancelled. */
  hurry(id: string, reason: string): void {
    this.#runs.get(id)?.hurry(reason)
  }

  /** No more claims; running steps get `timeout` to finish and are aborted then; the lease is given up. */
  async close(timeout: number): Promise<void> {
    if (this.#state === 'closed' || this.#state === 'closing') return

    const wasRunning = this.#state === 'running'
    this.#state = 'closing'
    this.#nextPoll?.cancel()
    await this.#polling
    if (this.#going.size > 0) await this.#drained(timeout)

    this.#halted = true
    for (const cancel of this.#loops.values()) cancel()
    await Promise.all(this.#ticking)
    for (const run of [...this.#going]) run.lose(new LeaseLostError('the saga engine was closed'))
    // Transactions that were just aborted hold their rows until they are rolled back.
    if (this.#going.size > 0) await this.#drained(ABORT_TAKES)
    this.#state = 'closed'
    if (!wasRunning || this.#id === undefined) return

    try {
      await this.#parts.store.leave(this.#id)
      await this.#tell()
    } catch (error) {
      // The lease runs out by itself.
      this.#parts.emit('storeError', { during: 'leave', error })
    }
  }

  /** Resolves when no run is left, or after `timeout`. */
  #drained(timeout: number): Promise<void> {
    return new Promise((resolve) => {
      const cancel = this.#parts.timers.after(timeout, resolve)
      this.#idleWaiters.push(() => {
        cancel()
        resolve()
      })
    })
  }

  #poll(): void {
    if (this.#state !== 'running') return
    if (this.#polling !== undefined) {
      this.#again = true
      return
    }

    this.#polling = this.#claim().finally(() => {
      this.#polling = undefined
      if (this.#again) this.poke(0)
      this.#again = false
    })
  }

  async #claim(): Promise<void> {
    const { store, timers, plans, concurrency, emit } = this.#parts
    const limit = concurrency - this.#runs.size
    const worker = this.#id
    if (limit <= 0) return
    if (worker === undefined) return this.#pollIn(IDLE.last)

    const asked = timers.now()
    for (const due of this.#dues) if (due <= asked) this.#dues.delete(due)

    const holding = this.#inDoubt ? [...this.#runs.keys(), ...this.#births] : undefined
    this.#collecting = this.#inDoubt
    try {
      const rows = await store.claim({ worker, can: [...plans.values()], limit, holding })
      // A lease that was lost meanwhile frees these rows by itself.
      if (worker === this.#id) for (const row of rows) this.launch(row)
      if (rows.length > 0) this.#idle = IDLE.first
      this.#pollIn(rows.length === limit ? 0 : this.#pause())
    } catch (error) {
      emit('storeError', { during: 'claim', error })
      this.#inDoubt = true
      this.#pollIn(IDLE.last)
    } finally {
      this.#collecting = false
    }
  }

  /** A saga may be ours without our knowing it. */
  #doubt(): void {
    this.#inDoubt = true
    this.#pollIn(IDLE.first)
  }

  /** Time until the next poll that nobody asked for. */
  #pause(): number {
    const { timers, random } = this.#parts
    const now = timers.now()
    let youngest = Infinity
    for (const [id, since] of this.#expected) {
      if (now - since > EXPECTED_FOR) this.#expected.delete(id)
      else youngest = Math.min(youngest, now - since)
    }

    const pause = this.#idle * (0.8 + 0.4 * random())
    this.#idle = Math.min(this.#idle * 2, IDLE.last)
    const due = Math.max(0, Math.min(...this.#dues) - now)
    return Math.min(pause, due, Math.max(2, youngest / 4))
  }

  async #enlist(): Promise<void> {
    const id = crypto.randomUUID()
    const sent = this.#parts.timers.now()
    await this.#parts.store.enlist(id, this.#parts.ttl)
    this.#id = id
    this.#guard(sent)
  }

  async #beat(): Promise<void> {
    if (this.#id === undefined) return this.#enlist()

    const sent = this.#parts.timers.now()
    if (await this.#parts.store.beat(this.#id, this.#parts.ttl)) return this.#guard(sent)

    this.#lose(new LeaseLostError('another worker took the lease of this one for expired'))
    await this.#enlist()
    this.poke(0)
  }

  /** Gives the lease up by our own clock, a little before the database does. */
  #guard(sent: number): void {
    const { timers, ttl } = this.#parts
    this.#loops.get('lease')?.()
    this.#loops.set(
      'lease',
      timers.background(Math.max(0, sent + ttl * 0.9 - timers.now()), () => {
        this.#lose(new LeaseLostError('the lease could not be renewed in time'))
      }),
    )
  }

  #lose(error: LeaseLostError): void {
    if (this.#id === undefined) return

    this.#id = undefined
    this.#parts.emit('leaseLost', { error })
    for (const run of [...this.#going]) run.lose(error)
  }

  async #sweep(): Promise<void> {
    if ((await this.#parts.store.sweep()) > 0) this.poke(0)
    if (this.#parts.onUnknownVersion === 'park') await this.#park()
  }

  /** What has been due for the time of a lease, nobody takes. */
  async #park(): Promise<void> {
    const { store, plans, ttl, emit } = this.#parts
    const parked = await store.park?.({ can: [...plans.values()], overdue: ttl, limit: PARKED_AT_ONCE })
    for (const { id, name, version } of parked ?? []) {
      const error = restoreError(unknownVersion({ name, version }))
      emit('sagaStuck', { sagaId: id, name, status: 'stuck', error })
    }
  }

  /** Does `work` again and again, `ms` after it has ended; a failure is told and tried again. */
  #every(name: string, ms: number, work: () => Promise<void>): void {
    const plan = (): void => void this.#loops.set(name, this.#parts.timers.background(ms, tick))
    const tick = (): void => {
      const ticking = work()
        .catch((error: unknown) => this.#parts.emit('storeError', { during: name, error }))
        .finally(() => {
          this.#ticking.delete(ticking)
          if (!this.#halted) plan()
        })
      this.#ticking.add(ticking)
    }
    plan()
  }
}
