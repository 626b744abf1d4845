import { checkBelow, optionalFunction } from './internal/check.js'
import { sagaConflict } from './internal/conflict.js'
import { canonical } from './internal/json.js'
import type { Clock, Queryable } from './shapes.js'
import { isFinished, unknownVersion, unparked } from './state.js'
import type {
  ClaimRequest,
  Commit,
  Create,
  Created,
  Delivered,
  Described,
  Guard,
  ListQuery,
  Mail,
  NewRecord,
  NewSaga,
  ParkQuery,
  PruneQuery,
  RecordRow,
  SagaRow,
  Store,
  Transition,
  Wait,
} from './store.js'

export interface MemoryStoreOptions {
  /** Runs transactional steps; without it a definition with a `txStep` or `txPivot` is refused by `createSagaEngine`. */
  readonly transaction?: (<T>(run: (tx: Queryable) => Promise<T>) => Promise<T>) | undefined
  /** Default: the engine's clock. */
  readonly clock?: Clock | undefined
}

/** A row as it is kept: changed in place, and copied on its way out. */
type Row = Omit<{ -readonly [K in keyof SagaRow]: SagaRow[K] }, 'deadlineIn' | 'now' | 'records'> & {
  readonly deadline: number | undefined
  readonly records: RecordRow[]
}

interface Letter extends Mail {
  /** When it was sent, by the clock of the store. */
  readonly at: number
  /** The saga and the step that it was delivered to. */
  to: { readonly id: string; readonly step: string } | undefined
  taken: boolean
}

interface Mailbox {
  letters: Letter[]
  readonly ids: Set<string>
  waiters: { readonly id: string; readonly step: string }[]
}

const boxKey = ({ event, key }: Pick<Mail, 'event' | 'key'>): string => JSON.stringify([event, key])

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
  readonly #boxes = new Map<string, Mailbox>()
  /** Where a saga that is not finished was down for an event. */
  readonly #boxesOf = new Map<string, Set<Mailbox>>()
  /** Sagas that something was delivered to which they have not taken, and how many such letters there are. */
  readonly #mailed = new Map<string, number>()
  readonly #outlines = new Map<string, string>()
  /** Which saga holds a resource. */
  readonly #held = new Map<string, string>()
  readonly #epoch = Date.now()
  create: Create<Queryable> = Object.assign(
    async (saga: NewSaga, tx?: Queryable) => {
      if (tx !== undefined)
        throw new TypeError('start: tx cannot be used with memoryStore, which cannot join a transaction')
      return this.#create(saga)
    },
    { now: (saga: NewSaga) => this.#create(saga) },
  )
  commit: Commit = Object.assign((batch: readonly Transition[]) => this.#commit(batch), {
    now: (transition: Transition) => (this.#locks.has(transition.id) ? undefined : this.#apply(transition)),
  })
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

  #create(saga: NewSaga): Created {
    const unique = saga.key === undefined ? undefined : JSON.stringify([saga.name, saga.key])
    const known = unique === undefined ? undefined : this.#sagas.get(this.#keys.get(unique) ?? '')
    if (known) {
      if (canonical(known.input) !== canonical(saga.input)) throw sagaConflict(known)
      return { saga: this.#row(known), created: false }
    }

    return { saga: this.#row(this.#insert(saga)), created: true }
  }

  #insert(saga: NewSaga): Row {
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
      wakeAt: undefined,
      parent: saga.parent,
      lock: saga.lock,
      trace: saga.trace,
      nudges: 0,
      records: [],
    }
    this.#sagas.set(row.id, row)
    if (!owned) this.#wake(row, now + (saga.delay ?? 0))
    if (saga.key !== undefined) this.#keys.set(JSON.stringify([saga.name, saga.key]), row.id)
    return row
  }

  async claim(request: ClaimRequest): Promise<SagaRow[]> {
    if (!this.#enlisted(request.worker)) return []

    const now = this.#now()
    const able = new Map(request.can.map((can) => [`${can.name}/${can.version}`, can]))
    const due = [...this.#due, ...this.#mailed.keys()]
      .map((id) => this.#sagas.get(id) as Row)
      .filter((row) => this.#isDue(row, now) && able.has(`${row.name}/${row.version}`) && !this.#locks.has(row.id))
      .sort((a, b) => (a.wakeAt ?? 0) - (b.wakeAt ?? 0))

    const taken: SagaRow[] = []
    const running = this.#running(request)
    for (const row of new Set([...this.#astray(request), ...due])) {
      if (taken.length >= request.limit) break
      const most = row.worker === undefined ? able.get(`${row.name}/${row.version}`)?.maxRunning : undefined
      if (most !== undefined && (running.get(row.name) ?? 0) >= most) continue
      if (row.lock !== undefined && (this.#held.get(row.lock) ?? row.id) !== row.id) continue

      if (row.worker === undefined) running.set(row.name, (running.get(row.name) ?? 0) + 1)
      if (row.lock !== undefined) this.#held.set(row.lock, row.id)
      row.worker = request.worker
      row.fence++
      row.claims++
      this.#wake(row, undefined)
      if (row.progress.status === 'waiting') row.progress = { ...row.progress, status: 'running' }
      if (row.progress.status === 'stuck') row.progress = unparked(row.progress)
      taken.push(this.#row(row))
    }
    return taken
  }

  #isDue({ id, wakeAt, worker, progress }: Row, now: number): boolean {
    if (wakeAt !== undefined && wakeAt <= now) return true
    return worker === undefined && progress.status === 'waiting' && this.#mailed.has(id)
  }

  /** How many sagas of a name somebody owns; none are counted where there is no limit. */
  #running({ can }: ClaimRequest): Map<string, number> {
    const running = new Map<string, number>()
    if (can.every(({ maxRunning }) => maxRunning === undefined)) return running

    for (const { name, worker } of this.#sagas.values())
      if (worker !== undefined) running.set(name, (running.get(name) ?? 0) + 1)
    return running
  }

  #astray({ worker, holding }: ClaimRequest): Row[] {
    if (holding === undefined) return []

    const held = new Set(holding)
    return [...this.#sagas.values()].filter(
      (row) => row.worker === worker && !held.has(row.id) && !this.#locks.has(row.id),
    )
  }

  async #commit(batch: readonly Transition[]): Promise<ReadonlySet<string>> {
    const accepted = new Set<string>()
    for (const transition of batch) {
      while (this.#locks.has(transition.id)) await this.#locks.get(transition.id)
      if (this.#apply(transition)) accepted.add(transition.id)
    }
    return accepted
  }

  async park({ can, overdue, limit }: ParkQuery): Promise<{ id: string; name: string; version: number }[]> {
    const names = new Set(can.map(({ name }) => name))
    const able = new Set(can.map(({ name, version }) => `${name}/${version}`))
    const before = this.#now() - overdue
    const parked: Row[] = []
    for (const id of this.#due) {
      const row = this.#sagas.get(id) as Row
      const known = names.has(row.name) && !able.has(`${row.name}/${row.version}`)
      const waits = row.wakeAt !== undefined && row.wakeAt <= before && row.progress.status !== 'stuck'
      if (parked.length >= limit || !known || !waits || this.#locks.has(id)) continue

      row.progress = { ...row.progress, status: 'stuck', problem: unknownVersion(row) }
      row.rev++
      parked.push(row)
    }
    return parked.map(({ id, name, version }) => ({ id, name, version }))
  }

  async commitWith(guard: Guard, run: (tx: Queryable) => Promise<Transition>): Promise<boolean> {
    const transaction = this.#transaction
    if (!transaction) throw new TypeError('memoryStore was made without a transaction')

    while (this.#locks.has(guard.id)) await this.#locks.get(guard.id)
    if (!this.#holds(guard)) return false

    let unlock: () => void = () => undefined
    const lock = new Promise<void>((resolve) => {
      unlock = resolve
    })
    this.#locks.set(guard.id, lock)
    try {
      return this.#apply(await transaction(run))
    } finally {
      this.#locks.delete(guard.id)
      unlock()
    }
  }

  async spawn(parent: Transition, child: NewSaga): Promise<boolean> {
    while (this.#locks.has(parent.id)) await this.#locks.get(parent.id)
    if (!this.#apply(parent)) return false

    this.#insert(child)
    return true
  }

  async receive(
    id: string,
    wait: Wait,
    run: (mail: Pick<Mail, 'payload'> | undefined) => Transition | undefined,
  ): Promise<boolean> {
    while (this.#locks.has(id)) await this.#locks.get(id)
    const box = this.#box(wait)
    const own = box.letters.find(({ taken, to }) => !taken && to?.id === id && to.step === wait.step)
    const letter = own ?? box.letters.find(({ taken, to }) => !taken && to === undefined)
    const transition = run(letter)
    if (transition && !this.#apply(transition)) return false

    const others = box.waiters.filter((waiter) => waiter.id !== id || waiter.step !== wait.step)
    const known = others.length < box.waiters.length
    if (letter) {
      if (letter === own) this.#tookMail(id)
      letter.taken = true
      letter.to = { id, step: wait.step }
    }
    const waitsOn = !letter && (transition === undefined || waitsFor(transition, wait.step))
    if (!waitsOn) {
      box.waiters = others
    } else if (!known) {
      box.waiters.push({ id, step: wait.step })
      this.#boxesOf.set(id, (this.#boxesOf.get(id) ?? new Set()).add(box))
    }
    return true
  }

  async deliver(mail: Mail, tx?: Queryable): Promise<Delivered> {
    if (tx !== undefined)
      throw new TypeError('send: tx cannot be used with memoryStore, which cannot join a transaction')

    const box = this.#box(mail)
    if (mail.messageId !== undefined) {
      if (box.ids.has(mail.messageId)) return 'duplicate'
      box.ids.add(mail.messageId)
    }
    const letter: Letter = { ...mail, at: this.#now(), to: undefined, taken: false }
    box.letters.push(letter)
    return this.#assign(box, letter) ? 'delivered' : 'buffered'
  }

  #assign(box: Mailbox, letter: Letter): boolean {
    const to = box.waiters.shift()
    if (!to) return false

    letter.to = to
    this.#mailed.set(to.id, (this.#mailed.get(to.id) ?? 0) + 1)
    return true
  }

  #box(of: Pick<Mail, 'event' | 'key'>): Mailbox {
    const known = this.#boxes.get(boxKey(of))
    if (known) return known

    const box: Mailbox = { letters: [], ids: new Set(), waiters: [] }
    this.#boxes.set(boxKey(of), box)
    return box
  }

  #tookMail(id: string): void {
    const left = (this.#mailed.get(id) ?? 1) - 1
    if (left > 0) this.#mailed.set(id, left)
    else this.#mailed.delete(id)
  }

  /** What was delivered to it and not taken is for others. */
  #unwait(id: string): void {
    this.#mailed.delete(id)
    for (const box of this.#boxesOf.get(id) ?? []) {
      box.waiters = box.waiters.filter((waiter) => waiter.id !== id)
      for (const letter of box.letters) {
        if (letter.taken || letter.to?.id !== id) continue
        letter.to = undefined
        this.#assign(box, letter)
      }
    }
  }

  async prune({ finishedBefore, limit }: PruneQuery): Promise<number> {
    const old = [...this.#sagas.values()]
      .filter(({ finishedAt, parent }) => {
        const above = parent === undefined ? undefined : this.#sagas.get(parent)
        return finishedAt !== undefined && finishedAt < finishedBefore && (!above || isFinished(above.progress))
      })
      .sort((a, b) => (a.finishedAt as number) - (b.finishedAt as number))
      .slice(0, limit)
    for (const { id, name, key } of old) {
      this.#sagas.delete(id)
      if (key !== undefined) this.#keys.delete(JSON.stringify([name, key]))
    }
    this.#pruneMail(finishedBefore)
    return old.length
  }

  /** With the letters that were taken go their ids, and mailboxes that nobody uses. */
  #pruneMail(sentBefore: number): void {
    for (const [name, box] of this.#boxes) {
      const isOld = ({ taken, at }: Letter): boolean => taken && at < sentBefore
      for (const letter of box.letters)
        if (isOld(letter) && letter.messageId !== undefined) box.ids.delete(letter.messageId)
      box.letters = box.letters.filter((letter) => !isOld(letter))
      if (box.letters.length === 0 && box.waiters.length === 0) this.#boxes.delete(name)
    }
  }

  async load(id: string): Promise<SagaRow | undefined> {
    const row = this.#sagas.get(id)
    return row && this.#row(row)
  }

  async list(query: ListQuery): Promise<SagaRow[]> {
    checkBelow(query.below)
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

  async describe(definitions: readonly Described[]): Promise<void> {
    for (const { name, version, outline } of definitions) this.#outlines.set(`${name}/${version}`, outline)
  }

  async outline(name: string, version: number): Promise<string | undefined> {
    return this.#outlines.get(`${name}/${version}`)
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
      row.worker = undefined
      row.fence++
      this.#wake(row, this.#now())
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
    const row = this.#sagas.get(change.id)
    if (row === undefined || row.fence !== change.fence || row.rev !== change.rev) return false

    const now = this.#now()
    row.rev++
    row.token = change.token
    if (!change.keep) row.worker = undefined
    let wakeAt = change.wakeIn === undefined ? undefined : now + change.wakeIn
    if (change.nudges !== undefined && change.nudges !== row.nudges) wakeAt = now
    this.#wake(row, wakeAt)
    row.claims = change.claims
    row.progress = change.progress
    row.output = change.output ?? row.output
    row.finishedAt = change.finished ? now : undefined
    if (change.record) row.records.push(lineOf(change.record, row.rev, now))

    if (change.unwait) this.#unwait(row.id)
    if (change.finished) this.#boxesOf.delete(row.id)
    if (change.lock !== undefined && this.#held.get(change.lock) === row.id) this.#held.delete(change.lock)
    if (change.parent !== undefined) this.#nudge(change.parent)
    return true
  }

  #nudge(id: string): void {
    const row = this.#sagas.get(id)
    if (!row) return

    row.nudges++
    const { status } = row.progress
    if (row.worker !== undefined || (status !== 'waiting' && status !== 'compensating')) return
    this.#wake(row, this.#now())
  }

  #wake(row: Row, at: number | undefined): void {
    if (at !== undefined) this.#due.add(row.id)
    else if (row.wakeAt !== undefined) this.#due.delete(row.id)
    row.wakeAt = at
  }

  #row(row: Row): SagaRow {
    const now = this.#now()
    return {
      id: row.id,
      name: row.name,
      version: row.version,
      shape: row.shape,
      rev: row.rev,
      fence: row.fence,
      worker: row.worker,
      claims: row.claims,
      token: row.token,
      key: row.key,
      input: row.input,
      output: row.output,
      tags: row.tags,
      progress: row.progress,
      deadlineIn: row.deadline === undefined ? undefined : row.deadline - now,
      createdAt: row.createdAt,
      finishedAt: row.finishedAt,
      wakeAt: row.wakeAt,
      parent: row.parent,
      lock: row.lock,
      trace: row.trace,
      nudges: row.nudges,
      now,
      records: row.records.slice(),
    }
  }
}

/** Field by field: a spread costs more than all the rest of a checkpoint. */
function lineOf(record: NewRecord, seq: number, at: number): RecordRow {
  const { name, kind, outcome, attempt, output, error, note, took, due, child } = record
  return { name, kind, outcome, attempt, output, error, note, took, due, child, seq, at }
}

/** A transition that leaves its step waiting. */
function waitsFor({ record }: Transition, step: string): boolean {
  return record === undefined || (record.name === step && record.outcome === 'started')
}
