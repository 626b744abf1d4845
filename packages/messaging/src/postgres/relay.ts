import { type Backoff, exponential } from '@msx/retry'
import type { Catalogue } from '../catalogue.js'
import { describeError } from '../dead-letter.js'
import { checkCount, checkDuration, checkFunction, refuse } from '../internal/check.js'
import { createEmitter } from '../internal/emitter.js'
import type { Forward } from '../internal/forward.js'
import type { OutboxStats, RelayEvents, RelaySnapshot, RowFacts } from '../outbox-events.js'
import type { Database } from '../shapes.js'
import { Alarm } from './alarm.js'
import { Lines } from './lines.js'
import { withAdvice } from './migrated.js'
import { type OutboxRow, preparedOf } from './row.js'
import { openSession, type Session } from './session.js'
import { BUCKETS, FIRST_HEAD, type Statements } from './statements.js'
import { storableReason } from './storable.js'
import { judgeRow, pauseOf } from './verdict.js'

export interface RelayOptions {
  /** How many rows to read at once; up to twice as many are on their way to the broker. Default 500. */
  readonly batch?: number | undefined
  /** The shortest and the longest time between two looks at an empty outbox, in ms. Default [20, 1_000]. */
  readonly poll?: readonly [number, number] | undefined
  /** How often the broker may refuse a row before it is parked. Default 5. */
  readonly attempts?: number | undefined
  /** How long to wait before a refused row is tried again. Default `exponential({ base: 1_000, max: 60_000 })` of @msx/retry. */
  readonly backoff?: Backoff | undefined
  /** How long to wait when broker or database are away. Default `exponential({ base: 100, max: 10_000 })` of @msx/retry. */
  readonly reconnect?: Backoff | undefined
}

/** Publishes the rows of an outbox. Made by `outbox.relay(bus)`, it runs at once. */
export interface Relay extends AsyncDisposable {
  /** Of the bus. */
  readonly source: string
  /** The events of the catalogue. */
  readonly eventTypes: readonly string[]
  /** Returns what ends the listening. */
  on<E extends keyof RelayEvents>(event: E, listener: (event: RelayEvents[E]) => void): () => void
  snapshot(): RelaySnapshot
  /**
   * Reads nothing more, waits for the confirms of what is on its way and deletes that, for `timeout` ms at most (default
   * 10,000). What is left is published again by the next relay. Idempotent.
   */
  close(options?: { readonly timeout?: number | undefined }): Promise<void>
}

export interface RelayParts {
  readonly pool: Database
  readonly schema: string
  readonly sql: Statements
  readonly catalogue: Catalogue
  readonly forward: Forward
  /** Of the bus. */
  readonly source: string
  readonly taken: Set<number>
  readonly listens: boolean
  readonly options: RelayOptions
  readonly onClosed: () => void
}

/** A row in hand. */
interface Held extends OutboxRow {
  /** When it was ready, by this process's clock. */
  readonly since: number
}

interface Refused {
  readonly row: Held
  readonly code: string
  readonly reason: string
  readonly delay: number | null
}

/** How often to look whether relays came or went, and what waits, in ms. */
const CENSUS = 500

/** Counting may take so small a part of the time. */
const SURVEY_PAUSE = 20

/** How soon after a publish in this process to look whether it is committed, in ms; then twice as long, and so on. */
const SOON = 2

/** How long confirms are gathered before their rows are deleted, in ms, when more are to come. */
const GATHER = 10

/** How many rows that wait are made ready by one statement. */
const AT_ONCE = 1_000

const ALL = Array.from({ length: BUCKETS }, (_, bucket) => bucket)

/**
 * Reads the rows of each bucket in the order they were written, publishes them without waiting for one another, and deletes those that the
 * broker has. Rows of one key share a bucket and a bucket has one relay, so their order holds however many relays there
 * are. A relay that dies leaves rows that the broker may have: they are published again, in order and with the same ids.
 */
export class OutboxRelay implements Relay {
  readonly source: string
  readonly eventTypes: readonly string[]
  readonly #parts: RelayParts
  readonly #batch: number
  readonly #poll: readonly [number, number]
  readonly #attempts: number
  readonly #backoff: Backoff
  readonly #reconnect: Backoff
  readonly #events = createEmitter<RelayEvents>(['published', 'relayed', 'retry', 'parked', 'interrupted'])
  readonly #alarm = new Alarm()
  /** Everything read and not deleted, by id. */
  readonly #rows = new Map<string, Held>()
  readonly #lines = new Lines<Held>(
    (row) => this.#send(row),
    (row) => this.#rows.delete(row.id),
  )
  #confirmed: string[] = []
  #refused: Refused[] = []
  readonly #buckets = new Set<number>()
  /** To be given to another relay once nothing of them is on its way. */
  readonly #leaving = new Set<number>()
  /** Whose turn it is to be read first. */
  #turn = 0
  #nextCensus = 0
  #nextSurvey = 0
  /** Where the next look at held rows begins. */
  #nextHead = FIRST_HEAD
  #relayed = 0
  #delay = 0
  #brokerError: { readonly error: unknown } | undefined
  #lost: { readonly error: unknown } | undefined
  #stopping = false
  #abandoned = false
  #state: RelaySnapshot['state'] = 'running'
  #outbox: OutboxStats | undefined
  readonly #nap = new Alarm()
  readonly #done: Promise<void>
  #closed: Promise<void> | undefined

  constructor(parts: RelayParts) {
    const { batch = 500, poll = [20, 1_000], attempts = 5, backoff, reconnect } = parts.options
    checkCount('relay', 'batch', batch, 1)
    if (!Array.isArray(poll) || poll.length !== 2) refuse('relay', 'poll', poll, '[shortest, longest] in ms')
    for (const ms of poll) checkDuration('relay', 'poll', ms)
    checkCount('relay', 'attempts', attempts, 1)
    if (backoff !== undefined) checkFunction('relay', 'backoff', backoff)
    if (reconnect !== undefined) checkFunction('relay', 'reconnect', reconnect)

    this.source = parts.source
    this.eventTypes = Object.keys(parts.catalogue.events)
    this.#parts = parts
    this.#batch = batch
    this.#poll = [poll[0] as number, Math.max(poll[0] as number, poll[1] as number)]
    this.#attempts = attempts
    this.#backoff = backoff ?? exponential({ base: 1_000, max: 60_000 })
    this.#reconnect = reconnect ?? exponential({ base: 100, max: 10_000 })
    this.#done = this.#run()
  }

  on<E extends keyof RelayEvents>(event: E, listener: (event: RelayEvents[E]) => void): () => void {
    return this.#events.on(event, listener)
  }

  snapshot(): RelaySnapshot {
    return {
      state: this.#state,
      buckets: this.#buckets.size,
      inFlight: this.#rows.size,
      relayed: this.#relayed,
      outbox: this.#outbox,
    }
  }

  /** Something was committed. */
  wake(): void {
    this.#delay = 0
    this.#alarm.ring()
  }

  /** Something will be committed soon. */
  expect(): void {
    this.#delay = SOON
    this.#alarm.within(SOON)
  }

  close({ timeout = 10_000 }: { readonly timeout?: number | undefined } = {}): Promise<void> {
    checkDuration('relay.close', 'timeout', timeout)
    this.#closed ??= this.#stop(timeout)

    return this.#closed
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #stop(timeout: number): Promise<void> {
    this.#stopping = true
    this.#alarm.ring()
    this.#nap.ring()
    const timer = setTimeout(() => {
      this.#abandoned = true
      this.#alarm.ring()
    }, timeout)
    await this.#done
    clearTimeout(timer)
    this.#state = 'closed'
    this.#outbox = undefined
    this.#parts.onClosed()
  }

  /** Never rejects. */
  async #run(): Promise<void> {
    let delay = 0
    for (let failures = 0; !this.#stopping; ) {
      let session: Session | undefined
      try {
        session = await this.#open()
        this.#state = 'running'
        await this.#work(session, () => {
          failures = 0
        })
      } catch (error) {
        delay = pauseOf(this.#reconnect, failures++, delay)
        this.#state = 'waiting'
        if (!this.#stopping) {
          this.#events.emit('interrupted', { error: withAdvice(this.#parts.schema, error), delay })
        }
      }
      this.#buckets.clear()
      this.#leaving.clear()
      await session?.close()
      if (!this.#stopping) await this.#nap.rest(delay)
    }
  }

  #open(): Promise<Session> {
    const { pool, schema, taken, listens } = this.#parts
    this.#lost = undefined
    this.#brokerError = undefined

    return openSession({
      pool,
      schema,
      taken,
      channel: listens ? schema : undefined,
      onNotice: () => this.wake(),
      onLost: (error) => {
        this.#lost = { error: error ?? new Error('the connection to the database ended') }
        this.#alarm.ring()
      },
    })
  }

  /** Returns when it is to stop, throws when broker or database are away. */
  async #work(session: Session, onProgress: () => void): Promise<void> {
    this.#nextCensus = 0
    this.#nextSurvey = 0
    for (;;) {
      if (this.#lost !== undefined) throw this.#lost.error
      const now = performance.now()
      const reads = !this.#stopping && this.#brokerError === undefined
      if (reads && now >= this.#nextCensus) {
        this.#nextCensus = now + CENSUS
        await this.#shareBuckets(session)
        await this.#promote(session)
        await this.#release(session)
        await this.#survey(session)
      }
      if (this.#leaving.size > 0) await this.#letGo(session)

      const hasRoom = this.#rows.size - this.#confirmed.length <= this.#batch
      const removed = this.#remove(session)
      const recorded = this.#record(session)
      // Reading overlaps with publishing: what was read before is on its way meanwhile.
      const read = reads && hasRoom ? this.#read(session) : undefined
      const [count] = await Promise.all([removed, recorded, read])
      if (count > 0) onProgress()

      if (!reads) {
        if (this.#rows.size === 0 || this.#abandoned) {
          if (this.#brokerError !== undefined && !this.#stopping) throw this.#brokerError.error
          return
        }
        await this.#alarm.rest(this.#hasChores() ? 0 : CENSUS)
        continue
      }
      if ((await read) !== 0 || this.#hasChores()) {
        this.#delay = this.#poll[0]
        if (!hasRoom) await this.#alarm.rest(GATHER)
        continue
      }

      // Nothing to read: the pace slows down, and a row that is due sooner quickens it.
      const due = this.#rows.size > 0 ? Number.POSITIVE_INFINITY : await this.#promote(session)
      if (due <= 0) continue
      const pause = Math.min(this.#delay, due, this.#poll[1])
      this.#delay = Math.max(SOON, Math.min(this.#delay * 2, this.#poll[1]))
      if (pause > 0) await this.#alarm.rest(Math.ceil(pause))
    }
  }

  #hasChores(): boolean {
    return this.#confirmed.length > 0 || this.#refused.length > 0
  }

  /** Each relay has its part of the buckets, one more or less. */
  async #shareBuckets(session: Session): Promise<void> {
    const fair = Math.ceil(BUCKETS / Math.max(1, await session.relays()))
    const missing = fair - this.#buckets.size
    if (missing > 0) {
      const others = ALL.filter((bucket) => !this.#buckets.has(bucket) && !this.#leaving.has(bucket))
      for (const bucket of await session.lock(
        others.sort(() => Math.random() - 0.5),
        missing,
      )) {
        this.#buckets.add(bucket)
      }
    }
    for (const bucket of [...this.#buckets].slice(0, Math.max(0, -missing))) {
      this.#buckets.delete(bucket)
      this.#leaving.add(bucket)
    }
  }

  async #letGo(session: Session): Promise<void> {
    const busy = new Set([...this.#rows.values()].map(({ bucket }) => bucket))
    for (const bucket of this.#leaving) {
      if (busy.has(bucket)) continue
      await session.unlock(bucket)
      this.#leaving.delete(bucket)
    }
  }

  /** How many rows were read. */
  async #read(session: Session): Promise<number> {
    if (this.#buckets.size === 0) return 0

    const mine = this.#buckets
    const { rows } = await session.query(this.#parts.sql.fetch, [
      this.#inTurn(),
      JSON.stringify([...this.#rows.keys()]),
      this.#batch,
    ])
    if (this.#brokerError !== undefined || this.#stopping) return 0

    let read = 0
    const held: string[] = []
    const now = performance.now()
    for (const row of (rows as OutboxRow[]).sort(byId)) {
      if (this.#rows.has(row.id) || !mine.has(row.bucket)) continue
      read += 1
      if (row.held) {
        held.push(row.id)
        continue
      }
      const own: Held = Object.assign(row, { since: now - row.age })
      this.#rows.set(row.id, own)
      this.#lines.offer(own)
    }
    if (held.length > 0) await session.query(this.#parts.sql.hold, [JSON.stringify(held)])
    return read
  }

  #mine(): string {
    return JSON.stringify([...this.#buckets])
  }

  /** A bucket with more than a batch of rows is not to be the first one each time. */
  #inTurn(): string {
    const buckets = [...this.#buckets]
    const first = this.#turn++ % buckets.length

    return JSON.stringify([...buckets.slice(first), ...buckets.slice(0, first)])
  }

  #send(row: Held): void {
    const spec = this.#parts.catalogue.events[row.type]

    this.#parts.forward(preparedOf(row, spec?.optional !== true)).then(
      () => this.#sent(row),
      (error: unknown) => this.#failed(row, error),
    )
  }

  #sent(row: Held): void {
    if (this.#events.hears('published')) {
      this.#events.emit('published', { ...factsOf(row), lag: performance.now() - row.since })
    }
    this.#confirmed.push(row.id)
    this.#lines.sent(row)
    const isAll = this.#confirmed.length === this.#rows.size
    if (isAll || this.#confirmed.length === Math.ceil(this.#batch / 2)) this.#alarm.ring()
    else this.#alarm.within(GATHER)
  }

  #failed(row: Held, error: unknown): void {
    const verdict = judgeRow(error, row.attempts + 1, this.#attempts, this.#backoff)
    this.#lines.failed(row)
    if (verdict.what === 'wait') {
      this.#rows.delete(row.id)
      this.#lines.settled(row)
      this.#brokerError ??= { error }
    } else {
      const facts = { ...factsOf(row), error }
      if (verdict.what === 'park') this.#events.emit('parked', facts)
      else this.#events.emit('retry', { ...facts, delay: verdict.delay })
      const { code, reason } = describeError(error)
      const delay = verdict.what === 'park' ? null : verdict.delay
      this.#refused.push({ row, code, reason: storableReason(reason), delay })
    }
    this.#alarm.ring()
  }

  /** Deletes what the broker has: never before, and in one statement. */
  async #remove(session: Session): Promise<number> {
    const ids = this.#confirmed
    if (ids.length === 0) return 0

    this.#confirmed = []
    try {
      await session.query(this.#parts.sql.remove, [JSON.stringify(ids)])
    } catch (error) {
      this.#confirmed = [...ids, ...this.#confirmed]
      throw error
    }
    for (const id of ids) {
      // What it held back may go now.
      if (this.#rows.get(id)?.failed) this.#nextCensus = 0
      this.#rows.delete(id)
    }
    this.#relayed += ids.length
    this.#events.emit('relayed', { count: ids.length })
    return ids.length
  }

  async #record(session: Session): Promise<void> {
    const refused = this.#refused
    if (refused.length === 0) return

    this.#refused = []
    try {
      const facts = refused.map(({ row: { id }, code, reason, delay }) => ({ id, code, reason, delay }))
      await session.query(this.#parts.sql.fail, [JSON.stringify(facts)])
    } catch (error) {
      this.#refused = [...refused, ...this.#refused]
      throw error
    }
    for (const { row } of refused) {
      this.#rows.delete(row.id)
      this.#lines.settled(row)
    }
  }

  /** Makes what is due ready, and returns how long it is until the next row will be, in ms; 0 when some were due. */
  async #promote(session: Session): Promise<number> {
    if (this.#buckets.size === 0) return CENSUS
    const { rows } = await session.query(this.#parts.sql.promote, [this.#mine(), AT_ONCE])
    const { moved, next } = rows[0] as { readonly moved: number; readonly next: number | null }

    return moved > 0 ? 0 : (next ?? Number.POSITIVE_INFINITY)
  }

  /** Makes ready what nothing holds back any more. Also what another relay left behind, or somebody's hand in the table. */
  async #release(session: Session): Promise<void> {
    if (this.#buckets.size === 0) return
    const { rows } = await session.query(this.#parts.sql.release, [this.#mine(), this.#nextHead, AT_ONCE])
    const { moved, next } = rows[0] as { readonly moved: number; readonly next: string | null }

    // There may be more of the same keys.
    if (moved > 0) this.#nextCensus = 0
    else this.#nextHead = next ?? FIRST_HEAD
  }

  async #survey(session: Session): Promise<void> {
    const startedAt = performance.now()
    if (startedAt < this.#nextSurvey) return

    this.#outbox = (await session.query(this.#parts.sql.survey, [this.#mine()])).rows[0] as OutboxStats
    const endedAt = performance.now()
    this.#nextSurvey = startedAt + Math.max(CENSUS, (endedAt - startedAt) * SURVEY_PAUSE)
  }
}

/** In the order in which they were written. */
function byId(a: OutboxRow, b: OutboxRow): number {
  return a.id.length - b.id.length || (a.id < b.id ? -1 : 1)
}

function factsOf(row: OutboxRow): RowFacts {
  return { id: row.id, messageId: row.message_id, type: row.type, key: row.key ?? undefined }
}
