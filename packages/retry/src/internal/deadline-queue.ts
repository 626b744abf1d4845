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
 * already sorted: adding, removing and expiring are O(1), and the timer is only ever that of the oldest.
 *
 * A timer that fires early is set again for the rest. Node counts from the start of the current turn of the event loop,
 * so after a turn that computed for 100 ms, a timer of 50 ms would fire at once.
 */
export class DeadlineQueue {
  readonly #clock: Clock
  #first: Deadline | undefined
  #last: Deadline | undefined
  #cancelTimer: (() => void) | undefined

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
    this.#cancelTimer = after(this.#clock, Math.max(0, deadline.at - this.#clock.now()), this.#expireDue)
  }

  readonly #expireDue = (): void => {
    this.#cancelTimer = undefined

    const now = this.#clock.now()
    let first = this.#first
    while (first !== undefined && first.at - now < TIMER_RESOLUTION) {
      this.#unlink(first)
      first.expire(now - first.at)
      first = this.#first
    }

    if (first !== undefined && this.#cancelTimer === undefined) this.#setTimer(first)
  }
}

/** Timers count whole milliseconds. */
const TIMER_RESOLUTION = 1
