import { decide } from './decide.js'
import type { Definition } from './definition.js'
import { planOf } from './definition.js'
import {
  EngineClosedError,
  restoreError,
  SagaConflictError,
  SagaFailedError,
  SagaNotFoundError,
  SagaStuckError,
  SagaWaitTimeoutError,
} from './errors.js'
import { emitter, type SagaEvents } from './events.js'
import { advance, emitNotices, type Held, hold, sideEffects } from './held.js'
import { count, duration, MAX_INT, shown, storable, text } from './internal/check.js'
import { fromJson, jsonOf } from './internal/json.js'
import { timersOf } from './internal/timers.js'
import { risingIds } from './internal/uuid.js'
import { type CancelAnswer, cancelAnswer, type Resume } from './intervene.js'
import type { Decision } from './moves.js'
import { planFromOutline } from './outline.js'
import { LONGEST, type Plan } from './plan.js'
import type { Run } from './runner.js'
import type { Clock, Queryable, Stored } from './shapes.js'
import { currentStep, FRESH, isAtRest, isFinished } from './state.js'
import type { EventType } from './step.js'
import type { Created, Delivered, NewSaga, SagaRow, SagaStatus, Store, Tags, Transition } from './store.js'
import { guarded, type Telemetry } from './telemetry.js'
import { type Page, recordOf, type SagaView, type StepRecord, timelineOf, viewOf } from './view.js'
import { planKey, Worker } from './worker.js'

export interface SagaEngineOptions<Tx> {
  readonly store: Store<Tx>
  /** The definitions that this engine may start and run. It leaves sagas of others alone. */
  readonly sagas: readonly Definition<never, unknown, unknown, Tx>[]
  /** Sagas that run at the same time in this process. Default 100. */
  readonly concurrency?: number | undefined
  /** After `ttl` milliseconds without a sign of life a worker's sagas go to others. Default 10 000, at least 100. */
  readonly lease?: { readonly ttl: number } | undefined
  /** Monotonic milliseconds, for timeouts and polls. In a database, the database's clock decides what is due. */
  readonly clock?: Clock | undefined
  /**
   * What becomes of sagas of a name that this engine has, in a version that it has not. `leave`: they are due until a worker
   * with the version comes. `park`: those that nobody took for the time of a lease are `stuck`, for people to see; they are
   * due all the same, so that such a worker carries on by itself, and an operator may `resume` them. Default 'leave'.
   */
  readonly onUnknownVersion?: 'leave' | 'park' | undefined
  /** Characters of JSON that the result of a step may have; a longer one fails its step. Default 1 000 000. */
  readonly maxStepBytes?: number | undefined
  /** Told of what the engine does: `openTelemetry()` of `@msx/saga/opentelemetry`. */
  readonly telemetry?: Telemetry | undefined
  /** For the jitter of back-offs and polls. Default Math.random. */
  readonly random?: (() => number) | undefined
}

export interface StartOptions<Tx> {
  /** One saga per name and key: a second start finds the first. */
  readonly key?: string | undefined
  /** Milliseconds after which a saga before its pivot is unwound. */
  readonly deadline?: number | undefined
  /** Milliseconds to wait before the first step. */
  readonly delay?: number | undefined
  readonly tags?: Tags | undefined
  /** The caller's transaction: the saga exists, and begins, if and when that commits. */
  readonly tx?: Tx | undefined
  /** Names a resource: of the sagas with this lock one runs at a time, from its first step to its end. The others wait. */
  readonly lock?: string | undefined
}

export interface SendOptions<Tx> {
  /** A second event with this id, of the same name and key, is a duplicate and dropped. */
  readonly messageId?: string | undefined
  /** The caller's transaction, of isolation READ COMMITTED: the event is sent if and when that commits. */
  readonly tx?: Tx | undefined
}

export interface ListFilter {
  readonly status?: SagaStatus | undefined
  readonly name?: string | undefined
  /** All of these. */
  readonly tags?: Tags | undefined
  readonly startedAfter?: Date | undefined
  readonly startedBefore?: Date | undefined
}

export interface ListPage {
  /** Default 50, at most 1 000. */
  readonly limit?: number | undefined
  /** The `next` of the page before. */
  readonly after?: string | undefined
}

export interface SettledOptions {
  /** Milliseconds. Default: without end. */
  readonly timeout?: number | undefined
  readonly signal?: AbortSignal | undefined
}

export interface SagaHandle<O> {
  readonly id: string
  /** False when the key found an earlier saga. */
  readonly created: boolean
  /** Resolves with what `returns` gave; rejects with SagaFailedError when unwound, with SagaStuckError once it is stuck. */
  result(): Promise<Stored<O>>
}

export interface SagaEngine<Tx = Queryable> extends AsyncDisposable {
  /** Resolves when the worker is registered and claiming; work goes on until `close`. */
  run(): Promise<void>
  /** Starts a saga, here or wherever there is room. */
  start<I, R, O>(
    definition: Definition<I, R, O, Tx>,
    input: NoInfer<I>,
    options?: StartOptions<Tx>,
  ): Promise<SagaHandle<O>>
  get(id: string): Promise<SagaView | undefined>
  /** From the newest to the oldest. */
  list(filter?: ListFilter, page?: ListPage): Promise<Page<SagaView>>
  history(id: string): Promise<StepRecord[]>
  /** The history as text. */
  timeline(id: string): Promise<string>
  /** Resolves when the saga is finished or stuck. */
  settled(id: string, options?: SettledOptions): Promise<SagaView>
  /** Unwinds a saga that is not past its pivot. The running step is told by its signal, and undone with what it answers. */
  cancel(id: string, options: { readonly reason: string }): Promise<CancelAnswer>
  /**
   * Gives an event to the saga that waits for this name and key the longest, or keeps it for the one that will. The answer
   * says which: 'delivered' or 'buffered'; or 'duplicate' for a `messageId` that came before.
   */
  send<T>(event: EventType<T>, key: string, payload: NoInfer<T>, options?: SendOptions<Tx>): Promise<Delivered>
  /**
   * Deletes finished sagas, the oldest first, at most `limit` of them, and answers how many. With a saga goes the promise that its
   * key starts no other one.
   */
  prune(options: { readonly finishedBefore: Date; readonly limit: number }): Promise<number>
  /** An operator's decision about a stuck saga. SagaConflictError when it is not in the state that the operator saw. */
  resume(id: string, decision: Resume): Promise<SagaView>
  /** No new claims; running steps may finish within `timeout` milliseconds (default 10 000); the lease is given up. */
  close(options?: { readonly timeout?: number | undefined }): Promise<void>
  on<E extends keyof SagaEvents>(event: E, listener: (payload: SagaEvents[E]) => void): () => void
  /** What this process does now. */
  snapshot(): { readonly running: number; readonly concurrency: number }
}

/** Polls for a saga that runs elsewhere: from `first`, doubling up to `last`, in milliseconds. */
const LOOK = { first: 100, last: 1_000 }
/** How long a handle waits for the caller's transaction to commit, in milliseconds. */
const UNCOMMITTED_FOR = 30_000
/** For how long a store may fail before those who wait for a saga hear of it, in milliseconds. */
const STORE_AWAY_FOR = 30_000
/** Two clocks decide that something is due; asking a moment later saves asking twice. Milliseconds. */
const SLACK = 2
const RESUMES: ReadonlySet<unknown> = new Set(['retry', 'skip', 'complete', 'compensate', 'abandon'])

/**
 * Runs sagas on a store. Any number of engines, in any number of processes, may share one store.
 *
 * @example
 * const engine = createSagaEngine({ store: memoryStore(), sagas: [checkout] })
 * await engine.run()
 * const handle = await engine.start(checkout, { orderId: '1' }, { key: '1' })
 * console.log(await handle.result())
 * await engine.close()
 */
export function createSagaEngine<Tx>(options: SagaEngineOptions<Tx>): SagaEngine<Tx> {
  const plans = plansOf(options)
  const store = options.store as unknown as Store<unknown>
  const concurrency = count('createSagaEngine: concurrency', options.concurrency, 100)
  const ttl = duration('createSagaEngine: lease.ttl', options.lease?.ttl, 10_000, 100)
  const random = options.random ?? Math.random
  const timers = timersOf(options.clock)
  if (options.clock) store.adopt?.(options.clock)

  const nextId = risingIds()
  const { on, emit } = emitter()
  const outlines = new Map<string, Plan>()
  const waiting = new Map<string, Set<(row?: SagaRow) => void>>()
  const ends = new Map<string, (row?: SagaRow) => void>()
  const limited = new Set<string>()
  for (const { name, maxRunning } of plans.values()) if (maxRunning !== undefined) limited.add(name)
  const maxStepBytes = count('createSagaEngine: maxStepBytes', options.maxStepBytes, 1_000_000)
  const telemetry = guarded(options.telemetry)
  const worker = new Worker({
    store,
    timers,
    random,
    emit,
    plans,
    concurrency,
    ttl,
    nextId,
    maxStepBytes,
    telemetry,
    onRelease: released,
    onGone: wake,
    onUnknownVersion: unknownVersionOf(options),
    cancel: (id, reason) => cancel(id, reason),
    recall: (row, plan, cause) => {
      const held = hold(row, timers)
      const decision = decide(plan, held.state, { type: 'recalled', cause }, random)
      return decision ? intervene(held, decision, 0) : Promise.resolve()
    },
  })
  let closed: Promise<void> | undefined

  function released({ row }: Held, wakeIn: number | undefined): void {
    if (wakeIn !== undefined) worker.poke(wakeIn + SLACK)
    if (row.lock !== undefined || row.parent !== undefined || limited.has(row.name)) worker.poke(0)
    wake(row.id, row)
  }

  /** Tells those who wait for a saga: it is at rest, or no longer run here. */
  function wake(id: string, row?: SagaRow): void {
    const end = ends.get(id)
    if (end) {
      ends.delete(id)
      end(row)
    }
    const looks = waiting.get(id)
    if (looks) for (const look of [...looks]) look(row)
  }

  function alive(): void {
    if (closed !== undefined) throw new EngineClosedError()
  }

  async function found(id: string): Promise<SagaRow> {
    const row = await store.load(id)
    if (!row) throw new SagaNotFoundError(id)
    return row
  }

  /** What is known of a saga's steps, be it only their outline; undefined when no engine ever had its definition. */
  async function planOrOutline({ name, version }: SagaRow): Promise<Plan | undefined> {
    const key = planKey(name, version)
    const known = plans.get(key) ?? outlines.get(key)
    if (known) return known

    const outline = await store.outline(name, version)
    const plan = outline === undefined ? undefined : planFromOutline(outline)
    if (plan) outlines.set(key, plan)
    return plan
  }

  async function planFor(row: SagaRow): Promise<Plan> {
    const plan = await planOrOutline(row)
    if (!plan)
      throw new SagaConflictError(row.id, `no engine on this store had saga '${row.name}' version ${row.version} yet`)
    return plan
  }

  const view = async (row: SagaRow): Promise<SagaView> => viewOf(row, await planOrOutline(row))

  /** Writes what somebody outside the run decided; undefined when the saga changed meanwhile. */
  async function intervene(held: Held, decision: Decision, claims: number): Promise<Held | undefined> {
    const { row } = held
    const resting = isAtRest(decision.progress)
    const owned = row.worker !== undefined
    const transition: Transition = {
      id: row.id,
      fence: row.fence,
      rev: row.rev,
      token: crypto.randomUUID(),
      keep: owned,
      wakeIn: owned || resting ? undefined : 0,
      claims,
      progress: decision.progress,
      output: decision.output,
      finished: isFinished(decision.progress),
      record: decision.record,
      ...sideEffects(held, decision, isFinished(decision.progress)),
    }
    if (!(await store.commit([transition])).has(row.id)) return undefined

    advance(held, transition, timers)
    emitNotices(emit, held, decision)
    if (!owned) released(held, transition.wakeIn)
    return held
  }

  async function cancel(id: string, reason: string): Promise<CancelAnswer> {
    for (;;) {
      const row = await found(id)
      const plan = await planFor(row)
      const held = hold(row, timers)
      const mayBeRunning = row.worker !== undefined || row.claims > 0
      const answer = cancelAnswer(plan, held.state, mayBeRunning)
      const decision = decide(plan, held.state, { type: 'cancel', reason, mayBeRunning }, random)
      if (!decision) return answer

      if (await intervene(held, decision, row.claims)) {
        worker.hurry(id, reason)
        return answer
      }
    }
  }

  /** Until this process, which runs the saga, is done with it: with what became of it, when that is known. */
  function ended(id: string): Promise<SagaRow | undefined> {
    return new Promise((resolve) => {
      const before = ends.get(id)
      const end = (row?: SagaRow): void => {
        before?.(row)
        resolve(row)
      }
      ends.set(id, before ? end : resolve)
    })
  }

  /**
   * Waits until the saga is found at rest, woken by this process or by polling. When this process runs it there is nothing
   * to ask the store for; `whole` asks for the whole row at the end all the same.
   */
  function atRest(id: string, grace: number, { timeout, signal }: SettledOptions, whole = true): Promise<SagaRow> {
    return new Promise((resolve, reject) => {
      const since = timers.now()
      let failingSince: number | undefined
      let pause = LOOK.first
      let cancelPoll = (): void => undefined
      let cancelTimeout = (): void => undefined

      const end = (finish: () => void): void => {
        cancelPoll()
        cancelTimeout()
        signal?.removeEventListener('abort', aborted)
        const set = waiting.get(id)
        set?.delete(look)
        if (set?.size === 0) waiting.delete(id)
        finish()
      }
      const aborted = (): void => end(() => reject(signal?.reason as Error))
      const fail = (error: unknown): void => end(() => reject(error as Error))
      const look = (row?: SagaRow): void => {
        cancelPoll()
        if (closed !== undefined) fail(new EngineClosedError())
        else if (row && !whole) seen(row)
        // Its end is told, or that it is not run here any more.
        else if (worker.runs(id) && row === undefined) return
        else store.load(id).then(seen, away)
      }
      /** The saga goes on when the store is back, and so does the wait. */
      const away = (error: unknown): void => {
        failingSince ??= timers.now()
        if (timers.now() - failingSince >= STORE_AWAY_FOR) {
          fail(error)
        } else {
          emit('storeError', { during: 'load', error })
          lookLater()
        }
      }
      const lookLater = (): void => {
        if (!waiting.get(id)?.has(look)) return
        cancelPoll()
        cancelPoll = timers.after(pause, () => look())
        pause = Math.min(pause * 2, LOOK.last)
      }
      const seen = (row: SagaRow | undefined): void => {
        failingSince = undefined
        if (row && isAtRest(row.progress)) end(() => resolve(row))
        else if (!row && timers.now() - since >= grace) fail(new SagaNotFoundError(id))
        else lookLater()
      }

      if (signal?.aborted) return aborted()
      signal?.addEventListener('abort', aborted, { once: true })
      if (timeout !== undefined)
        cancelTimeout = timers.after(timeout, () => fail(new SagaWaitTimeoutError(id, timeout)))
      waiting.set(id, (waiting.get(id) ?? new Set()).add(look))
      look()
    })
  }

  const engine: SagaEngine<Tx> = {
    on,
    snapshot: () => ({ running: worker.running, concurrency }),

    async run() {
      alive()
      await worker.start()
    },

    async start(definition, input, startOptions = {}) {
      alive()
      const plan = planOf(definition)
      if (plans.get(planKey(plan.name, plan.version)) !== plan)
        throw new TypeError(`start: saga '${plan.name}' version ${plan.version} is not among this engine's sagas`)

      const { key, deadline, delay, tags = {}, tx, lock } = startOptions
      if (key !== undefined) text('start: key', key, 500)
      checkTags('start: tags', tags)
      if (lock !== undefined) text('start: lock', lock, 500)
      const wait = duration('start: delay', delay, 0, 0, LONGEST)
      const free = tx === undefined && wait === 0 && lock === undefined && plan.maxRunning === undefined
      const home = free ? worker.home : undefined
      const id = nextId()
      const span = telemetry?.start({ sagaId: id, name: plan.name, version: plan.version })
      const given: NewSaga = {
        id,
        name: plan.name,
        version: plan.version,
        shape: plan.shape,
        key,
        input: jsonOf('start: input', input),
        tags,
        delay: wait,
        deadline: deadline === undefined ? undefined : duration('start: deadline', deadline, 0, 1, LONGEST),
        worker: home,
        progress: wait > 0 || lock !== undefined ? { ...FRESH, status: 'waiting' } : FRESH,
        lock,
        trace: span?.carrier,
      }
      let born: Created
      try {
        if (tx === undefined && store.create.now) born = store.create.now(given)
        else if (home === undefined) born = await store.create(given, tx)
        else born = await worker.bear(id, () => store.create(given, tx))
      } catch (error) {
        span?.end({ error })
        throw error
      }
      const { saga: row, created } = born
      span?.end()

      let run: Run | undefined
      if (created) {
        emit('sagaStarted', { sagaId: row.id, name: row.name, status: row.progress.status })
        if (row.worker !== undefined) run = worker.launch(row)
        else if (tx !== undefined && wait === 0) worker.expect(row.id)
        else worker.poke(wait)
      }

      return {
        id: row.id,
        created,
        async result() {
          // Nothing comes after that. Of any other end an operator may have made something else.
          if (run?.row.progress.status === 'completed') return resultOf(run.row, plan) as never

          const last = worker.runs(row.id) ? await ended(row.id) : undefined
          if (last && isAtRest(last.progress)) return resultOf(last, plan) as never

          const rest = await atRest(row.id, tx === undefined ? 0 : UNCOMMITTED_FOR, {}, false)
          return resultOf(rest, plan) as never
        },
      }
    },

    async get(id) {
      const row = await store.load(id)
      return row && view(row)
    },

    async list({ status, name, tags, startedAfter, startedBefore } = {}, page = {}) {
      const limit = Math.min(count('list: limit', page.limit, 50), 1_000)
      if (tags !== undefined) checkTags('list: tags', tags)
      const rows = await store.list({
        status,
        name,
        tags,
        startedAfter: startedAfter && timeOf('list: startedAfter', startedAfter),
        startedBefore: startedBefore && timeOf('list: startedBefore', startedBefore),
        below: page.after,
        limit: limit + 1,
      })
      const items = await Promise.all(rows.slice(0, limit).map(view))
      return { items, next: rows.length > limit ? items.at(-1)?.id : undefined }
    },

    async history(id) {
      return (await found(id)).records.map(recordOf)
    },

    async timeline(id) {
      return timelineOf(await found(id))
    },

    async settled(id, settledOptions = {}) {
      alive()
      const { timeout, signal } = settledOptions
      if (timeout !== undefined) duration('settled: timeout', timeout, 0)
      return view(await atRest(id, 0, { timeout, signal }))
    },

    async cancel(id, { reason }) {
      return cancel(id, text('cancel: reason', reason, 1_000))
    },

    async send(event, key, payload, { messageId, tx } = {}) {
      alive()
      text("send: the event's name", event?.name)
      text('send: key', key, 500)
      if (messageId !== undefined) text('send: messageId', messageId, 500)

      const delivered = await store.deliver(
        { event: event.name, key, messageId, payload: jsonOf('send: payload', payload) },
        tx,
      )
      if (delivered === 'delivered') worker.rouse(tx !== undefined)
      return delivered
    },

    async prune({ finishedBefore, limit }) {
      return store.prune({
        finishedBefore: timeOf('prune: finishedBefore', finishedBefore),
        limit: count('prune: limit', limit, 1, MAX_INT),
      })
    },

    async resume(id, decision) {
      checkResume(decision)
      const row = await found(id)
      const plan = await planFor(row)
      const held = hold(row, timers)
      if (row.rev !== decision.rev)
        throw new SagaConflictError(id, `saga ${id} is at rev ${row.rev}, not at ${decision.rev}: look at it again`)

      const decided = decide(plan, held.state, { type: 'resume', decision }, random) as Decision
      // Another try at a step does not call back what an earlier owner may have sent.
      const after = await intervene(held, decided, decision.do === 'retry' ? Math.min(row.claims, 1) : 0)
      if (!after) throw new SagaConflictError(id, `saga ${id} was changed by somebody else: look at it again`)
      return view(after.row)
    },

    async close({ timeout } = {}) {
      // Before anything is closed: a call that is refused changes nothing.
      const patience = duration('close: timeout', timeout, 10_000)
      closed ??= (async () => {
        await worker.close(patience)
        for (const id of [...ends.keys(), ...waiting.keys()]) wake(id)
      })()
      return closed
    },

    async [asyncDispose]() {
      await this.close()
    },
  }
  return engine
}

// Where the symbol is missing `await using` is too, and the key does no harm.
const asyncDispose: typeof Symbol.asyncDispose =
  Symbol.asyncDispose ?? (Symbol.for('Symbol.asyncDispose') as typeof Symbol.asyncDispose)

function plansOf<Tx>({ store, sagas }: SagaEngineOptions<Tx>): ReadonlyMap<string, Plan> {
  if (typeof store?.commit !== 'function')
    throw new TypeError(`createSagaEngine: store is not a store: ${shown(store)}`)
  if (!Array.isArray(sagas)) throw new TypeError(`createSagaEngine: sagas must be a list, not ${shown(sagas)}`)

  const plans = new Map<string, Plan>()
  const given = new Set<Plan>()
  /** The sagas that are steps of others come with them. */
  const add = (plan: Plan): void => {
    const key = planKey(plan.name, plan.version)
    const known = plans.get(key)
    if (known === plan) return
    if (known)
      throw new TypeError(`createSagaEngine: saga '${plan.name}' version ${plan.version} is given twice, in two forms`)

    const step = plan.steps.find(({ transactional }) => transactional)
    if (step && !store.transactional)
      throw new TypeError(
        `createSagaEngine: step '${step.name}' of saga '${plan.name}' is transactional and the store has no transactions (memoryStore takes a \`transaction\` option)`,
      )
    plans.set(key, plan)
    for (const { child } of plan.steps) if (child) add(child.plan)
  }
  for (const definition of sagas) {
    const plan = planOf(definition)
    if (given.has(plan))
      throw new TypeError(`createSagaEngine: saga '${plan.name}' version ${plan.version} is given twice`)
    given.add(plan)
    add(plan)
  }
  return plans
}

function unknownVersionOf<Tx>({ onUnknownVersion = 'leave', store }: SagaEngineOptions<Tx>): 'leave' | 'park' {
  if (onUnknownVersion !== 'leave' && onUnknownVersion !== 'park')
    throw new TypeError(`createSagaEngine: onUnknownVersion must be 'leave' or 'park', not ${shown(onUnknownVersion)}`)
  if (onUnknownVersion === 'park' && !store.park)
    throw new TypeError("createSagaEngine: onUnknownVersion: 'park' needs a store that has `park`")
  return onUnknownVersion
}

function resultOf(row: SagaRow, plan: Plan): unknown {
  const { status, problem, cause } = row.progress
  if (status === 'completed') return fromJson(row.output)
  if (status === 'stuck')
    throw new SagaStuckError(row.id, currentStep(plan, row.progress), problem && restoreError(problem))

  const why = status === 'abandoned' ? (problem ?? cause) : cause
  throw new SagaFailedError(row.id, status, why && restoreError(why))
}

function checkTags(name: string, tags: Tags): void {
  if (typeof tags !== 'object' || tags === null) throw new TypeError(`${name} must be an object, not ${shown(tags)}`)
  for (const [tag, value] of Object.entries(tags)) {
    if (typeof value !== 'string') throw new TypeError(`${name}.${tag} must be a string, not ${shown(value)}`)
    storable(`${name}: a name`, tag)
    storable(`${name}.${tag}`, value)
  }
}

/** Epoch milliseconds. */
function timeOf(name: string, value: Date): number {
  if (value instanceof Date && !Number.isNaN(value.getTime())) return value.getTime()
  throw new TypeError(`${name} must be a valid Date, not ${value instanceof Date ? 'Invalid Date' : shown(value)}`)
}

function checkResume(decision: Resume): void {
  text('resume: by', decision.by)
  text('resume: reason', decision.reason, 1_000)
  text('resume: step', decision.step)
  if (!RESUMES.has(decision.do))
    throw new TypeError(
      `resume: do must be 'retry', 'skip', 'complete', 'compensate' or 'abandon', not ${shown(decision.do)}`,
    )
}
