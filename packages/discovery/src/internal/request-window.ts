const BUCKETS = 10

/** Requests and failures of the last `length` ms, to a tenth of it. No timer: what is old goes when somebody looks. */
export class RequestWindow {
  readonly #span: number
  readonly #requests = new Uint32Array(BUCKETS)
  readonly #failures = new Uint32Array(BUCKETS)
  #slot: number
  #total = 0
  #failed = 0

  constructor(length: number, now: number) {
    this.#span = length / BUCKETS
    this.#slot = Math.floor(now / this.#span)
  }

  add(failed: boolean, now: number): void {
    this.#forget(now)
    const bucket = this.#slot % BUCKETS
    this.#requests[bucket]!++
    this.#total++
    if (!failed) return

    this.#failures[bucket]!++
    this.#failed++
  }

  /** How many requests there were, and the share of them that succeeded. */
  read(now: number): { readonly requests: number; readonly successRate: number } {
    this.#forget(now)
    return { requests: this.#total, successRate: this.#total === 0 ? 1 : 1 - this.#failed / this.#total }
  }

  clear(): void {
    this.#requests.fill(0)
    this.#failures.fill(0)
    this.#total = 0
    this.#failed = 0
  }

  #forget(now: number): void {
    const slot = Math.floor(now / this.#span)
    if (slot - this.#slot >= BUCKETS) this.clear()
    else {
      for (let old = this.#slot + 1; old <= slot; old++) {
        const bucket = old % BUCKETS
        this.#total -= this.#requests[bucket]!
        this.#failed -= this.#failures[bucket]!
        this.#requests[bucket] = 0
        this.#failures[bucket] = 0
      }
    }
    this.#slot = Math.max(slot, this.#slot)
  }
}
