import { after, type Clock } from './clock.js'

/** Whoever has a deadline. */
export interface Waiting {
  expire(): void
}

/** One who waits, chained to those who began before and after. */
export interface Deadline {
  readonly who: Waiting
  readonly at: number
  before: Deadline | undefined
  after: Deadline | undefined
}

/**
 * Deadlines that are all equally far away when they are set, so that they come in the order in which they were set: one
 * timer serves them all. Nearly all are taken back long before, and a timer each costs more than setting them.
 */
export class Deadlines {
  readonly #clock: Clock
  readonly #ms: number
  #first: Deadline | undefined
  #last: Deadline | undefined
  /** Looks when the first is due, or, where that has been taken back, too early once. */
  #cancel: (() => void) | undefined

  constructor(clock: Clock, ms: number) {
    this.#clock = clock
    this.#ms = ms
  }

  /** `now` is the time by the clock. */
  set(who: Waiting, now: number): Deadline {
    const deadline: Deadline = { who, at: now + this.#ms, before: this.#last, after: undefined }
    if (this.#last === undefined) this.#first = deadline
    else this.#last.after = deadline
    this.#last = deadline
    if (this.#cancel === undefined) this.#look(this.#ms)

    return deadline
  }

  /** Once for each that was set and has not expired. */
  remove(deadline: Deadline): void {
    this.#unchain(deadline)
    // Nobody waits: neither does the process.
    if (this.#first === undefined) {
      this.#cancel?.()
      this.#cancel = undefined
    }
  }

  #unchain(deadline: Deadline): void {
    const { before, after: next } = deadline
    if (before === undefined) this.#first = next
    else before.after = next
    if (next === undefined) this.#last = before
    else next.before = before
    // Once in V8's old generation it is garbage for a while, and whatever it names lives on: all that came after it.
    deadline.before = undefined
    deadline.after = undefined
  }

  #look(ms: number): void {
    this.#cancel = after(this.#clock, ms, () => {
      this.#cancel = undefined
      try {
        this.#expire(this.#clock.now())
      } finally {
        if (this.#first !== undefined && this.#cancel === undefined) this.#look(this.#first.at - this.#clock.now())
      }
    })
  }

  #expire(now: number): void {
    for (let due = this.#first; due !== undefined && due.at <= now; due = this.#first) {
      this.#unchain(due)
      due.who.expire()
    }
  }
}
