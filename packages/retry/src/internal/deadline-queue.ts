import type { Clock } from '../policy.js'
import { hasMethods } from './has-methods.js'

/** A member of a {@link DeadlineQueue}. The links belong to the queue. */
export interface Deadline {
  /** When it expires, on the queue's clock. */
  readonly at: number
  previous: Deadline | undefined
  next: Deadline | undefined
  /** Called once, out of the queue. `late` is by how many milliseconds. */
  expire(late: number): void
}

/**
 * One timer for all calls of one duration. Equal durations expire in the order of their start, so a linked list is
 * already sorted: adding, removing and expiring are O(1). The timer may be that of a call which is gone by now; it then
 * expires nothing, and is set again for the oldest there is.
 *
 * Calls that do not overlap share it too, for setting and clearing it would be most of what they cost: when the last call
 * goes, the timer rests, which holds no process. If it fires before another call comes, it is gone.
 */
export class DeadlineQueue {
  readonly #clock: Clock
  #first: Deadline | undefined
  #last: Deadline | undefined
  #cancelTimer: (() => void) | undefined
  /** The timer itself, where it can rest. */
  #hostTimer: HostTimer | undefined
  /** The deadline the timer was set for. */
  #timerAt = 0
  #resting = false
  #emptiedBefore = false

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Its `at` must not be before that of the last one added. */
  add(deadline: Deadline): void {
    const last = this.#last
    this.#last = deadline
    if (last === undefined) {
      this.#first = deadline
      if (this.#resting) this.#wake()
    } else {
      deadline.previous = last
      last.next = deadline
    }

    if (this.#cancelTimer === undefined) this.#setTimer(deadline)
  }

  /** Does nothing for one that is not in the queue. */
  remove(deadline: Deadline): void {
    this.#unlink(deadline)
    if (this.#first !== undefined || this.#cancelTimer === undefined || this.#resting) return

    // A policy made for one call leaves nothing behind: only from the second time on does the timer rest.
    if (this.#emptiedBefore && this.#hostTimer !== undefined && isHostTime()) {
      this.#resting = true
      this.#hostTimer.unref()
    } else {
      this.#emptiedBefore = true
      this.#clearTimer()
    }
  }

  #unlink(deadline: Deadline): void {
    const { previous, next } = deadline
    if (previous === undefined && this.#first !== deadline) return

    if (previous === undefined) this.#first = next
    else previous.next = next
    if (next === undefined) this.#last = previous
    else next.previous = previous

    deadline.previous = undefined
    deadline.next = undefined
  }

  #wake(): void {
    this.#resting = false
    // A test may have put timers of its own in place of the host's meanwhile, which must be the ones that count.
    if (isHostTime()) this.#hostTimer?.ref()
    else this.#clearTimer()
  }

  #clearTimer(): void {
    this.#cancelTimer?.()
    this.#cancelTimer = undefined
  }

  #setTimer(deadline: Deadline): void {
    const ms = Math.max(0, deadline.at - this.#clock.now())
    this.#timerAt = deadline.at
    this.#hostTimer = undefined
    if (this.#clock.after !== undefined) {
      this.#cancelTimer = this.#clock.after(ms, this.#expireDue)
      return
    }

    const timer: unknown = setTimeout(this.#expireDue, ms)
    // Timers of a test runner are cleared by its own, also when the host's are back.
    const clear = clearTimeout
    this.#cancelTimer = () => clear(timer as never)
    if (hasMethods<HostTimer>(timer, 'ref', 'unref')) this.#hostTimer = timer
  }

  readonly #expireDue = (): void => {
    this.#cancelTimer = undefined
    this.#resting = false

    // What the timer was set for is due, whatever the clock says: a test may fake timers and leave the clock.
    const now = this.#clock.now()
    const due = Math.max(now, this.#timerAt) + TIMER_RESOLUTION
    let first = this.#first
    while (first !== undefined && first.at < due) {
      this.#unlink(first)
      first.expire(now - first.at)
      first = this.#first
    }

    if (first !== undefined && this.#cancelTimer === undefined) this.#setTimer(first)
  }
}

/** Timers count whole milliseconds. */
const TIMER_RESOLUTION = 1

/** A timer of Node or Bun. Elsewhere it is a number, and cannot rest. */
interface HostTimer {
  ref(): void
  unref(): void
}

const hostSetTimeout: unknown = globalThis.setTimeout

function isHostTime(): boolean {
  return globalThis.setTimeout === hostSetTimeout
}
