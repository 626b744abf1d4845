import { LONGEST_DELAY } from '../internal/check.js'

/** A rest that can be cut short. Holds no process alive. */
export class Alarm {
  #ring: (() => void) | undefined
  #dueAt = Number.POSITIVE_INFINITY
  #timer: NodeJS.Timeout | undefined
  #rung = false

  /** Resolves after `ms` (24 days at most), or as soon as somebody rings; at once when somebody rang since the last rest. */
  rest(ms: number): Promise<void> {
    if (this.#rung) {
      this.#rung = false
      return Promise.resolve()
    }
    return new Promise((resolve) => {
      this.#ring = () => {
        clearTimeout(this.#timer)
        this.#ring = undefined
        this.#rung = false
        this.#dueAt = Number.POSITIVE_INFINITY
        resolve()
      }
      this.#arm(ms)
    })
  }

  ring(): void {
    if (this.#ring === undefined) this.#rung = true
    else this.#ring()
  }

  /** Rests no longer than `ms` from now. Changes nothing when nobody rests. */
  within(ms: number): void {
    if (this.#ring !== undefined && performance.now() + ms < this.#dueAt) this.#arm(ms)
  }

  #arm(ms: number): void {
    clearTimeout(this.#timer)
    this.#dueAt = performance.now() + ms
    this.#timer = setTimeout(() => this.#ring?.(), Math.min(ms, LONGEST_DELAY))
    this.#timer.unref()
  }
}
