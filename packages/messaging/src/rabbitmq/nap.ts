import type { Timekeeper } from '../clock.js'

/** A sleep that can be ended early, for good. */
export class Nap {
  readonly #time: Timekeeper
  #wake: (() => void) | undefined
  #over = false

  constructor(time: Timekeeper) {
    this.#time = time
  }

  sleep(ms: number): Promise<void> {
    if (this.#over) return Promise.resolve()

    return new Promise((resolve) => {
      const cancel = this.#time.after(ms, resolve)
      this.#wake = () => {
        cancel()
        resolve()
      }
    })
  }

  /** No sleep from now on. */
  end(): void {
    this.#over = true
    this.#wake?.()
  }
}
