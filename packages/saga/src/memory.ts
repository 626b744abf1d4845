import { optionalFunction } from './internal/check.js'
import { sagaConflict } from './internal/conflict.js'
import { canonical } from './internal/json.js'
import type { Clock, Queryable } from './shapes.js'
import type { ClaimRequest, Guard, ListQuery, NewSaga, RecordRow, SagaRow, Store, Transition } from './store.js'

export interface MemoryStoreOptions {
  /** Runs transactional steps; without it a definition with a `txStep` or `txPivot` is refused by `createSagaEngine`. */
  readonly transaction?: (<T>(run: (tx: Queryable) => Promise<T>) => Promise<T>) | undefined
  /** Default: the engine's clock. */
  readonly clock?: Clock | undefined
}

type Row = Omit<SagaRow, 'deadlineIn'> & { readonly deadline: number | undefined }

/**
 * Keeps sagas in this process: for tests, and for work that may be lost with it. Several engines may share one. A
 * transactional step commits first and is recorded right after; with nothing durable there is no crash in between.
 */
export function memoryStore(options: MemoryStoreOptions = {}): Store<Queryable> {
  optionalFunction('memoryStore: transaction', options.transaction)
  return new MemoryStore(options)
}

class MemoryStore implements Store<Queryable> {
  readonly transactional: boolean
  readonly #transaction: MemoryStoreOptions['transaction']
  readonly #sagas = new Map<string, Row>()
  readonly #keys = new Map<string, string>()
  readonly #due = new Set<string>()
  readonly #leases = new Map<string, number>()
  /** One at a time, as a row lock would have it: a `commitWith` under way refuses nobody, others wait. */
  readonly #locks = new Map<string, Promise<unknown>>()
  readonly #epoch = Date.now()
  #clock: Clock
  #ownClock: boolean
  #started: number

  constructor({ transaction, clock }: MemoryStoreOptions) {
    this.transactional = transaction !== undefined
    this.#transaction = transaction
    this.#clock = clock ?? { now: () => performance.now() }
    this.#ownClock = clock !== undefined
    this.#started = this.#clock.now()
  }

  adopt(clock: Clock): void {
    if (this.#ownClock || this.#sagas.size > 0) return

    this.#ownClock = true
    this.#clock = clock
    this.#started = clock.now()
  }

  #now(): number {
    return this.#epoch + this.#clock.now() - this.#started
  }

  async create(saga: NewSaga, tx?: Queryable): Promise<{ saga: SagaRow; created: boolean }> {
    if (tx !== undefined)
      throw new TypeError('start: tx cannot be used with memoryStore, which cannot join a transaction')

    const unique = saga.key === undefined ? undefined : JSON.stringify([saga.name, saga.key])
    const known = unique === undefined ? undefined : this.#sagas.get(this.#keys.get(unique) ?? '')
    if (known) {
      if (canonical(known.input) !== canonical(saga.input)) throw sagaConflict(known)
      return { saga: this.#row(known), created: false }
    }

    const now = this.#now()
    const owned = saga.worker !== undefined && this.#enlisted(saga.worker)
    const row: Row = {
      id: saga.id,
      name: saga.name,
      version: saga.version,
      shape: saga.shape,
      rev: 1,
      fence: 1,
      worker: owned ? saga.worker : undefined,
      claims: owned ? 1 : 0,
      token: undefined,
      key: saga.key,
      input: saga.input,
      output: undefined,
      tags: saga.tags,
      progress: saga.progress,
      deadline: saga.deadline === undefined ? undefined : now + saga.deadline,
      createdAt: now,
      finishedAt: undefined,
      wakeAt: owned ? undefined : now + (saga.delay ?? 0),
      records: [],
    }
    this.#put(row)
    if (unique !== undefined) this.#keys.set(unique, row.id)
    return { saga: this.#row(row), created: true }
  }

  async claim(request: ClaimRequest): Promise<SagaRow[]> {
    if (!this.#enlisted(request.worker)) return []

    const now = this.#now()
    const able = new Set(request.can.map(({ name, version }) => `${name}/${version}`))
    const due = [...this.#due]
      .map((id) => this.#sagas.get(id) as Row)
      .filter((row) => (row.wakeAt as number) <= now && able.has(`${row.name}/${row.version}`))
      .filter((row) => !this.#locks.has(row.id))
      .sort((a, b) => (a.wakeAt as number) - (b.wakeAt as number))

    return [...this.#astray(request), ...due].slice(0, request.limit).map((row) =>
      this.#row(
        this.#put({
          ...row,
          worker: request.worker,
          fence: row.fence + 1,
          claims: row.claims + 1,
          wakeAt: undefined,
          progress: row.progress.status === 'waiting' ? { ...row.progress, status: 'running' } : row.progress,
        }),
      ),
    )
  }

  #astray({ worker, holding }: ClaimRequest): Row[] {
    if (holding === undefined) return []

    const held = new Set(holding)
    return [...this.#sagas.values()].filter((row) => row.worker === worker && !held.has(row.id))
  }

  async commit(batch: readonly Transition[]): Promise<ReadonlySet<string>> {
    const accepted = new Set<string>()
    for (const transition of batch) {
      while (this.#locks.has(transition.id)) await this.#locks.get(transition.id)
      if (this.#apply(transition)) accepted.add(transition.id)
    }
    return accepted
  }

  async commitWith(guard: Guard, run: (tx: Queryable) => Promise<Transition>): Promise<boolean> {
    const transaction = this.#transaction
    if (!transaction) throw new TypeError('memoryStore was made without a transaction')

    while (this.#locks.has(guard.id)) await this.#locks.get(guard.id)
    if (!this.#holds(guard)) return false

    const work = transaction(run)
    const lock = work.then(
      () => undefined,
      () => undefined,
    )
    this.#locks.set(guard.id, lock)
    try {
      return this.#apply(await work)
    } finally {
      this.#locks.delete(guard.id)
    }
  }

  async load(id: string): Promise<SagaRow | undefined> {
    const row = this.#sagas.get(id)
    return row && this.#row(row)
  }

  async list(query: ListQuery): Promise<SagaRow[]> {
    const matches = (row: Row): boolean =>
      (query.status === undefined || row.progress.status === query.status) &&
      (query.name === undefined || row.name === query.name) &&
      Object.entries(query.tags ?? {}).every(([tag, value]) => row.tags[tag] === value) &&
      (query.startedAfter === undefined || row.createdAt > query.startedAfter) &&
      (query.startedBefore === undefined || row.createdAt < query.startedBefore) &&
      (query.below === undefined || row.id < query.below)

    return [...this.#sagas.values()]
      .filter(matches)
      .sort((a, b) => (a.id < b.id ? 1 : -1))
      .slice(0, query.limit)
      .map((row) => ({ ...this.#row(row), records: [] }))
  }

  async enlist(worker: string, ttl: number): Promise<void> {
    this.#leases.set(worker, this.#now() + ttl)
  }

  async beat(worker: string, ttl: number): Promise<boolean> {
    if (!this.#leases.has(worker)) return false

    this.#leases.set(worker, this.#now() + ttl)
    return true
  }

  async sweep(): Promise<number> {
    for (const worker of [...this.#leases.keys()]) if (!this.#enlisted(worker)) this.#leases.delete(worker)

    return this.#free((worker) => !this.#leases.has(worker))
  }

  async leave(worker: string): Promise<void> {
    this.#leases.delete(worker)
    this.#free((owner) => owner === worker)
  }

  #free(lost: (worker: string) => boolean): number {
    let freed = 0
    for (const row of this.#sagas.values()) {
      if (row.worker === undefined || !lost(row.worker) || this.#locks.has(row.id)) continue
      this.#put({ ...row, worker: undefined, fence: row.fence + 1, wakeAt: this.#now() })
      freed++
    }
    return freed
  }

  #enlisted(worker: string): boolean {
    return (this.#leases.get(worker) ?? Number.NEGATIVE_INFINITY) > this.#now()
  }

  #holds({ id, fence, rev }: Guard): boolean {
    const row = this.#sagas.get(id)
    return row !== undefined && row.fence === fence && row.rev === rev
  }

  #apply(change: Transition): boolean {
    if (!this.#holds(change)) return false

    const row = this.#sagas.get(change.id) as Row
    const now = this.#now()
    const rev = row.rev + 1
    const record: RecordRow | undefined = change.record && { ...change.record, seq: rev, at: now }
    this.#put({
      ...row,
      rev,
      token: change.token,
      worker: change.keep ? row.worker : undefined,
      wakeAt: change.wakeIn === undefined ? undefined : now + change.wakeIn,
      claims: change.claims,
      progress: change.progress,
      output: change.output ?? row.output,
      finishedAt: change.finished ? now : undefined,
      records: record ? [...row.records, record] : row.records,
    })
    return true
  }

  #put(row: Row): Row {
    this.#sagas.set(row.id, row)
    if (row.wakeAt === undefined) this.#due.delete(row.id)
    else this.#due.add(row.id)
    return row
  }

  #row({ deadline, ...row }: Row): SagaRow {
    return { ...row, deadlineIn: deadline === undefined ? undefined : deadline - this.#now() }
  }
}
