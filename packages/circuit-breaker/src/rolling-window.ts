import type { Clock } from './policy.js'

const CALLS = 0
const FAILURES = 1
const SLOW = 2
export const FIELDS = 3

/** Successes closer together than this, in milliseconds, come in a stream... */
const DENSE = 1
/** ...in which only one in so many needs a look at the clock. */
const UNREAD = 3

/** The contents of a window as plain JSON. */
export interface WindowSnapshot {
  /** Milliseconds that a bucket spans; 0 where each call has a bucket of its own. */
  readonly width: number
  /** Calls, failures and slow calls of each bucket in turn, oldest first. */
  readonly counts: readonly number[]
}

/**
 * What a circuit remembers of the calls that completed: a ring of buckets, whose totals are kept as buckets come and go. All
 * is O(1) and allocates nothing.
 *
 * With a `width` of 0 each call is a bucket: the last `size` calls. Otherwise a bucket spans `width` ms, and a call leaves
 * with its bucket. Every look at the clock retires all buckets that have passed since the last one, however many: a window
 * that retires one per call would count failures from before a silence.
 *
 * A look at the clock costs as much as the rest of a call. So in a stream of successes less than a millisecond apart, three
 * in four are counted where the one before them was. A failure, a slow call and a reader always look: what can be wrong is
 * the age of at most three successes that come after a stream has paused.
 */
export class RollingWindow {
  calls = 0
  failures = 0
  slow = 0
  readonly #width: number
  readonly #clock: Clock
  readonly #ring: Uint8Array | Uint32Array
  /** Where the current bucket lies in the ring; the oldest one follows it. */
  #offset = 0
  /** Number of the current bucket, counted from the clock's zero. */
  #head = 0
  #readAt = Number.NaN
  /** How many successes may still be counted without a look at the clock. */
  #unread = 0

  constructor(size: number, width: number, clock: Clock) {
    this.#width = width
    this.#clock = clock
    this.#ring = new (width > 0 ? Uint32Array : Uint8Array)(FIELDS * size)
    this.refresh()
  }

  /** Counts a call. The totals are true right after it. */
  record(failed: boolean, slow: boolean): void {
    if (this.#width === 0) this.#retireOldest()
    else if (failed || slow || this.#unread === 0) this.refresh()
    else this.#unread--

    const ring = this.#ring
    ring[this.#offset + CALLS]!++
    this.calls++
    if (failed) {
      ring[this.#offset + FAILURES]!++
      this.failures++
    }
    if (slow) {
      ring[this.#offset + SLOW]!++
      this.slow++
    }
  }

  /** Drops what has grown too old. To be called before the totals are read. */
  refresh(): void {
    if (this.#width === 0) return

    const now = this.#clock.now()
    const gap = now - this.#readAt
    this.#unread = gap > 0 && gap < DENSE ? UNREAD : 0
    this.#readAt = now

    const head = Math.floor(now / this.#width)
    // A whole turn retires everything; a clock that steps back stops the ageing for a while.
    for (let i = Math.min(head - this.#head, this.#ring.length / FIELDS); i > 0; i--) this.#retireOldest()
    this.#head = Math.max(head, this.#head)
  }

  clear(): void {
    this.#ring.fill(0)
    this.calls = this.failures = this.slow = 0
  }

  save(): WindowSnapshot {
    this.refresh()
    const oldest = this.#offset + FIELDS
    return { width: this.#width, counts: [...this.#ring.subarray(oldest), ...this.#ring.subarray(0, oldest)] }
  }

  /** Takes over what another window saved `elapsed` ms ago, as far as it is of the same kind. */
  restore({ width, counts }: WindowSnapshot, elapsed: number): void {
    if (width > 0 !== this.#width > 0) return

    this.refresh()
    const { length } = this.#ring
    for (let at = 0, age = counts.length / FIELDS - 1; age >= 0; at += FIELDS, age--) {
      const back = FIELDS * (width > 0 ? Math.floor((elapsed + age * width) / this.#width) : age)
      if (back >= length) continue

      const [calls, failures, slow] = counts.slice(at, at + FIELDS) as [number, number, number]
      this.#add((this.#offset - back + length) % length, calls, failures, slow)
    }
  }

  #add(offset: number, calls: number, failures: number, slow: number): void {
    const ring = this.#ring
    ring[offset + CALLS]! += calls
    ring[offset + FAILURES]! += failures
    ring[offset + SLOW]! += slow
    this.calls += calls
    this.failures += failures
    this.slow += slow
  }

  /** Turns the oldest bucket into the current one. */
  #retireOldest(): void {
    const ring = this.#ring
    const next = this.#offset + FIELDS
    const offset = next === ring.length ? 0 : next

    this.#offset = offset
    if (ring[offset] !== 0) this.#add(offset, -ring[offset]!, -ring[offset + FAILURES]!, -ring[offset + SLOW]!)
  }
}
