import type { StoredError } from './errors.js'
import type { Clock } from './shapes.js'

/*
 * The port between the engine and what keeps its sagas. Payloads (input, outputs) cross it as JSON text, times as
 * milliseconds, so that a store never interprets what users put in.
 *
 * Ownership. A worker enlists with a lease and renews it; a saga is owned by a worker or by none. Each claim and each
 * sweep raises the saga's `fence`, each accepted write its `rev`. A write names both and is accepted only when both
 * still hold, so a worker that lost its lease can write nothing more.
 */

export type SagaStatus =
  | 'running'
  | 'waiting'
  | 'compensating'
  | 'completed'
  | 'compensated'
  | 'cancelled'
  | 'stuck'
  | 'abandoned'

export type Tags = Readonly<Record<string, string>>

/** Where a saga is: everything that a transition may change, besides its records. */
export interface Progress {
  readonly status: SagaStatus
  readonly direction: 'forward' | 'backward'
  /** Index of the step that is next in this direction; the number of steps when all are done. */
  readonly cursor: number
  /** The pivot has succeeded. */
  readonly committed: boolean
  /** Failed attempts of the step at the cursor in this direction. */
  readonly attempt: number
  /** The last back-off, in milliseconds. */
  readonly delay: number
  /** The step at the cursor was announced (`intent: true`) and has not settled. */
  readonly intent: boolean
  /** Why it is being unwound. */
  readonly cause?: StoredError | undefined
  /** Why it is stuck, or what the last failed attempt failed with. */
  readonly problem?: StoredError | undefined
  /** The reason given to `cancel`. */
  readonly cancel?: string | undefined
  /** Of the branches of a `parallel`, while the cursor is at its first. */
  readonly lanes?: Lanes | undefined
}

/** What `attempt`, `delay` and `intent` are to the step at the cursor. */
export interface Counter {
  readonly attempt: number
  readonly delay: number
  readonly intent: boolean
}

export interface Lanes {
  /** By branch; none means nothing but zeros. */
  readonly counters: Readonly<Record<string, Counter>>
  /** The first branch that failed for good: no other begins, and those that run are waited for. */
  readonly failing?: { readonly step: string; readonly error: StoredError } | undefined
  /** Branches that a process which died may have begun. */
  readonly doubt?: readonly string[] | undefined
}

/** One line of a saga's history, before the store gives it its place. */
export interface NewRecord {
  readonly name: string
  readonly kind: 'do' | 'undo' | 'sleep' | 'wait' | 'child' | 'operator'
  readonly outcome: 'ok' | 'failed' | 'in_doubt' | 'skipped' | 'started'
  readonly attempt: number
  /** JSON text. */
  readonly output?: string | undefined
  readonly error?: StoredError | undefined
  readonly note?: { readonly do: string; readonly by: string; readonly reason: string } | undefined
  /** Milliseconds that it took. */
  readonly took: number
  /** Of a timer that begins with this record: milliseconds until it ends. */
  readonly due?: number | undefined
  /** The id of the saga that this step started. */
  readonly child?: string | undefined
}

export interface RecordRow extends NewRecord {
  /** The `rev` that this record made. */
  readonly seq: number
  /** Epoch milliseconds by the store's clock. */
  readonly at: number
}

export interface NewSaga {
  readonly id: string
  readonly name: string
  readonly version: number
  readonly shape: string
  readonly key: string | undefined
  /** JSON text. */
  readonly input: string | undefined
  readonly tags: Tags
  /** Milliseconds until it is due; undefined when `worker` owns it from the start. */
  readonly delay: number | undefined
  /** Milliseconds until its deadline. */
  readonly deadline: number | undefined
  /** Owned by this worker from the start, when that worker is still enlisted. */
  readonly worker: string | undefined
  readonly progress: Progress
  /** The saga whose step this one is. */
  readonly parent?: string | undefined
  /** It is claimed only while no other unfinished saga has claimed this. */
  readonly lock?: string | undefined
  /** Trace context, as a propagator wrote it: JSON text. */
  readonly trace?: string | undefined
}

export interface SagaRow {
  readonly id: string
  readonly name: string
  readonly version: number
  readonly shape: string
  readonly rev: number
  readonly fence: number
  readonly worker: string | undefined
  /**
   * How often it was claimed since its last accepted write. 2 or more: an earlier owner may have begun the step at the
   * cursor; so may it when the row is stuck, and this is not 0.
   */
  readonly claims: number
  /** The mark of the last accepted write, by which a writer recognises its own after a lost answer. */
  readonly token: string | undefined
  readonly key: string | undefined
  readonly input: string | undefined
  readonly output: string | undefined
  readonly tags: Tags
  readonly progress: Progress
  /** Milliseconds until the deadline, negative when it has passed. */
  readonly deadlineIn: number | undefined
  readonly createdAt: number
  readonly finishedAt: number | undefined
  readonly wakeAt: number | undefined
  readonly parent: string | undefined
  readonly lock: string | undefined
  readonly trace: string | undefined
  /** How often something that it may wait for has happened: raised with the end of each of its children. */
  readonly nudges: number
  /** When this was read, in epoch milliseconds by the store's clock. */
  readonly now: number
  /** In order; empty in a list. */
  readonly records: readonly RecordRow[]
}

/** The saga that a write is about, as the writer knows it. */
export interface Guard {
  readonly id: string
  readonly fence: number
  readonly rev: number
}

export interface Transition extends Guard {
  readonly token: string
  /** The owner keeps it. Otherwise it is nobody's: due in `wakeIn`, or at rest when that is undefined. */
  readonly keep: boolean
  readonly wakeIn: number | undefined
  readonly claims: number
  readonly progress: Progress
  readonly output: string | undefined
  readonly finished: boolean
  readonly record: NewRecord | undefined
  /** Of one that goes to rest without a time: the `nudges` that the writer has seen. Others since then make it due at once. */
  readonly nudges?: number | undefined
  /** It waits for events no longer: what was delivered to it and not taken is for others. */
  readonly unwait?: boolean | undefined
  /** Due at this saga's end: the parent is nudged, the lock is released. */
  readonly parent?: string | undefined
  readonly lock?: string | undefined
}

/** What a saga waits for. */
export interface Wait {
  readonly event: string
  readonly key: string
  /** The step that waits. */
  readonly step: string
}

/** An event on its way. */
export interface Mail {
  readonly event: string
  readonly key: string
  readonly messageId: string | undefined
  /** JSON text. */
  readonly payload: string | undefined
}

export type Delivered = 'delivered' | 'buffered' | 'duplicate'

/** A definition without its code. */
export interface Described extends Support {
  /** JSON text. */
  readonly outline: string
}

export interface PruneQuery {
  /** Epoch milliseconds. */
  readonly finishedBefore: number
  readonly limit: number
}

export interface Support {
  readonly name: string
  readonly version: number
  /** How many sagas of this name may be owned at a time, by all workers together. */
  readonly maxRunning?: number | undefined
}

export interface ClaimRequest {
  readonly worker: string
  readonly can: readonly Support[]
  readonly limit: number
  readonly holding?: readonly string[] | undefined
}

export interface ListQuery {
  readonly status?: SagaStatus | undefined
  readonly name?: string | undefined
  readonly tags?: Tags | undefined
  /** Epoch milliseconds. */
  readonly startedAfter?: number | undefined
  readonly startedBefore?: number | undefined
  /** Only ids below this one: lists run from the newest to the oldest. */
  readonly below?: string | undefined
  readonly limit: number
}

/** Applies transitions of different sagas; answers the ids of those that were accepted. */
export interface Commit {
  (batch: readonly Transition[]): Promise<ReadonlySet<string>>
  /**
   * The same for one, where nobody has to be asked: whether it was accepted, or undefined when the long way has to be taken.
   * It belongs to the function, so that a store around this one which has its own `commit` has no other door.
   */
  now?(transition: Transition): boolean | undefined
}

export interface Created {
  readonly saga: SagaRow
  readonly created: boolean
}

/** Inserts the saga, or finds the one that has its name and key. With `tx`, inside the caller's transaction. */
export interface Create<Tx> {
  (saga: NewSaga, tx?: Tx): Promise<Created>
  /** The same where nobody has to be asked: see `Commit`. */
  now?(saga: NewSaga): Created
}

/** Sagas that are due and that no worker takes. */
export interface ParkQuery {
  /** Only sagas of these names, and of other versions than these. */
  readonly can: readonly Support[]
  /** Milliseconds that they have been due. */
  readonly overdue: number
  readonly limit: number
}

/** Word between engines that something is due, which may be lost: whoever polls finds it a little later. */
export interface Hints {
  /** Something is due that this process does not take. Resolves when that is said, a few milliseconds later. */
  tell(): Promise<void>
  /** Calls back when another process has told something, until the function that it returns is called. */
  listen(heard: () => void, onError: (error: unknown) => void): () => void
}

/** What an engine needs of a database. `Tx` is what a transactional step is given. */
export interface Store<Tx> {
  /** Types only; never set. */
  readonly '~tx'?: ((tx: Tx) => Tx) | undefined
  /** Whether `commitWith` works. */
  readonly transactional: boolean
  /** Take over the engine's clock, in a store that has no clock of its own. */
  adopt?(clock: Clock): void

  create: Create<Tx>
  /**
   * Takes due sagas that the worker has the definitions of, the longest due first. Nothing for a worker without a lease.
   *
   * `holding`, when given, are the sagas that the worker knows it owns: those it owns besides are taken (again), as the
   * answer that told of them was lost.
   */
  claim(request: ClaimRequest): Promise<SagaRow[]>
  commit: Commit
  /**
   * Locks the saga, lets `run` work in the same transaction, and applies its transition. False: refused, nothing was done.
   *
   * A process that stops in the middle must not keep the lock for ever: after `idle` milliseconds without a word from it
   * the database may roll back. Default: as the database is configured.
   */
  commitWith(guard: Guard, run: (tx: Tx) => Promise<Transition>, idle?: number): Promise<boolean>
  /** Applies the parent's transition and creates its child, both or neither. False: refused. */
  spawn(parent: Transition, child: NewSaga): Promise<boolean>
  /**
   * Looks into the mailbox of `wait` and decides with what is there, and nothing can be delivered in between. `run` is given the
   * oldest event that nobody took, and answers the transition to apply, or undefined for none. The event is taken with the
   * transition; without an event the saga is down for the next one until it takes it or leaves (`unwait`). False: refused.
   */
  receive(
    id: string,
    wait: Wait,
    run: (mail: Pick<Mail, 'payload'> | undefined) => Transition | undefined,
  ): Promise<boolean>
  /**
   * Gives an event to the saga that waits for it the longest, which is due then, or keeps it. With `tx`, when the caller's
   * transaction commits. A known `messageId` in the same mailbox is a duplicate.
   */
  deliver(mail: Mail, tx?: Tx): Promise<Delivered>
  /** Deletes finished sagas, the oldest first, and answers how many; never one whose parent is not finished. */
  prune(query: PruneQuery): Promise<number>
  load(id: string): Promise<SagaRow | undefined>
  list(query: ListQuery): Promise<SagaRow[]>

  /** Keeps the outlines of definitions, for those who look at sagas without having the definitions. */
  describe(definitions: readonly Described[]): Promise<void>
  outline(name: string, version: number): Promise<string | undefined>

  enlist(worker: string, ttl: number): Promise<void>
  /** Renews the lease; false when it was taken away. */
  beat(worker: string, ttl: number): Promise<boolean>
  /** For a store between processes. */
  readonly hints?: Hints | undefined
  /**
   * Makes sagas `stuck` that are due, and stay so: a claim takes them as they were. Answers what it has parked. For engines
   * with `onUnknownVersion: 'park'`.
   */
  park?(query: ParkQuery): Promise<readonly { readonly id: string; readonly name: string; readonly version: number }[]>

  /** Frees what workers without a lease own; answers how many. */
  sweep(): Promise<number>
  /** Gives up the lease and frees what the worker owns. */
  leave(worker: string): Promise<void>
}
