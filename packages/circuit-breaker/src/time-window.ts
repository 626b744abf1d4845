import type { Clock } from './policy.js'
import type { RollingWindow, WindowSnapshot } from './rolling-window.js'

const CALLS = 0
const FAILURES = 1
const SLOW = 2
const FIELDS = 3

/**
 * The calls of the last `duration` ms, in buckets: a call leaves with its bucket, between duration - duration/buckets and
 * duration after it completed.
 *
 * Every read and write first retires all buckets that have passed since the last one, however many: a window that
 * retires one per call would count failures from before a silence.
 */
export class TimeWindow implements RollingWindow {
  calls = 0
  failures = 0
  slow = 0
  readonly #clock: Clock
  readonly #width: number
  readonly #count: number
  readonly #ring: Uint32Array
  /** Number of the current bucket, counted from the clock's zero. */
  #head: number
  /** Where the current bucket lies in the ring; the oldest one follows it. */
  #offset = 0
  /** When the current bucket ends. */
  #end: number

  constructor(duration: number, buckets: number, clock: Clock) {
    this.#clock = clock
    this.#width = duration / buckets
    this.#count = buckets
    this.#ring = new Uint32Array(FIELDS * buckets)
    this.#head = Math.floor(clock.now() / this.#width)
    this.#end = (this.#head + 1) * this.#width
  }

  record(failed: boolean, slow: boolean): void {
    this.refresh()

    const ring = this.#ring
    const offset = this.#offset
    ring[offset + CALLS]!++
    this.calls++
    if (failed) {
      ring[offset + FAILURES]!++
      this.failures++
    }
    if (slow) {
      ring[offset + SLOW]!++
      this.slow++
    }
  }

  refresh(): void {
    const now = this.#clock.now()
    if (now >= this.#end) this.#advance(now)
  }

  clear(): void {
    this.#ring.fill(0)
    this.calls = 0
    this.failures = 0
    this.slow = 0
  }

  save(): WindowSnapshot {
    this.refresh()

    const buckets = Array.from({ length: this.#count }, (_, age) => {
      const offset = (this.#offset + FIELDS * (age + 1)) % this.#ring.length
      const [calls, failures, slow] = this.#ring.subarray(offset, offset + FIELDS) as unknown as Totals
      return { calls, failures, slow }
    })
    return { kind: 'duration', width: this.#width, buckets }
  }

  restore(saved: WindowSnapshot, elapsed: number): void {
    if (saved.kind !== 'duration') return

    this.refresh()
    saved.buckets.forEach(({ calls, failures, slow }, index) => {
      const age = elapsed + (saved.buckets.length - 1 - index) * saved.width
      const steps = Math.floor(age / this.#width)
      if (steps >= this.#count) return

      const offset = (this.#offset - FIELDS * steps + this.#ring.length) % this.#ring.length
      this.#ring[offset + CALLS]! += calls
      this.#ring[offset + FAILURES]! += failures
      this.#ring[offset + SLOW]! += slow
      this.calls += calls
      this.failures += failures
      this.slow += slow
    })
  }

  #advance(now: number): void {
    const head = Math.floor(now / this.#width)
    const steps = head - this.#head

    if (steps >= this.#count) {
      this.clear()
    } else {
      for (let i = 0; i < steps; i++) this.#retireOldest()
    }
    this.#head = head
    this.#end = (head + 1) * this.#width
  }

  /** Turns the oldest bucket into the current one. */
  #retireOldest(): void {
    const ring = this.#ring
    const offset = this.#offset + FIELDS === ring.length ? 0 : this.#offset + FIELDS

    this.calls -= ring[offset + CALLS] as number
    this.failures -= ring[offset + FAILURES] as number
    this.slow -= ring[offset + SLOW] as number
    ring.fill(0, offset, offset + FIELDS)
    this.#offset = offset
  }
}

type Totals = [calls: number, failures: number, slow: number]
