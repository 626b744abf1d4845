import type { RollingWindow, WindowSnapshot } from './rolling-window.js'

const FAILED = 1
const SLOW = 2

/** The last `size` calls: a ring of bytes, the one that leaves is taken off the totals as the new one enters. */
export class CountWindow implements RollingWindow {
  calls = 0
  failures = 0
  slow = 0
  readonly #ring: Uint8Array
  #next = 0

  constructor(size: number) {
    this.#ring = new Uint8Array(size)
  }

  record(failed: boolean, slow: boolean): void {
    const ring = this.#ring
    const leaving = ring[this.#next] as number
    const entering = (failed ? FAILED : 0) | (slow ? SLOW : 0)

    ring[this.#next] = entering
    this.#next = this.#next + 1 === ring.length ? 0 : this.#next + 1

    // Places not yet used hold 0, so only the number of calls must know that the ring is not full.
    if (this.calls < ring.length) this.calls++
    this.failures += (entering & FAILED) - (leaving & FAILED)
    this.slow += ((entering & SLOW) - (leaving & SLOW)) >> 1
  }

  refresh(): void {}

  clear(): void {
    this.#ring.fill(0)
    this.#next = 0
    this.calls = 0
    this.failures = 0
    this.slow = 0
  }

  save(): WindowSnapshot {
    const size = this.#ring.length
    const oldest = this.#next - this.calls + size
    let results = ''
    for (let i = 0; i < this.calls; i++) results += this.#ring[(oldest + i) % size]

    return { kind: 'calls', results }
  }

  restore(saved: WindowSnapshot): void {
    if (saved.kind !== 'calls') return

    for (const digit of saved.results) {
      const result = Number(digit)
      this.record((result & FAILED) !== 0, (result & SLOW) !== 0)
    }
  }
}
