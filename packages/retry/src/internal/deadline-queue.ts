import type { Clock } from '../policy.js'
import { after } from './time.js'

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
 */
export class DeadlineQueue {
  readonly #clock: Clock
  #first: Deadline | undefined
  #last: Deadline | undefined
  #cancelTimer: (() => void) | undefined
  /** The deadline the timer was set for. */
  #timerAt = 0

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Its `at` must not be before that of the last one added. */
  add(deadline: Deadline): void {
    deadline.previous = this.#last
    if (this.#last === undefined) this.#first = deadline
    else this.#last.next = deadline
    this.#last = deadline

    if (this.#cancelTimer === undefined) this.#setTimer(deadline)
  }

  /** Does nothing for one that is not in the queue. */
  remove(deadline: Deadline): void {
    this.#unlink(deadline)
    if (this.#first !== undefined || this.#cancelTimer === undefined) return

    this.#cancelTimer()
    this.#cancelTimer = undefined
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

  #setTimer(deadline: Deadline): void {
    this.#timerAt = deadline.at
    this.#cancelTimer = after(this.#clock, Math.max(0, deadline.at - this.#clock.now()), this.#expireDue)
  }

  readonly #expireDue = (): void => {
    this.#cancelTimer = undefined

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
