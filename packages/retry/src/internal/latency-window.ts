/** How many of the last latencies are kept. */
const SIZE = 100
/** With fewer, a 95th percentile says nothing. */
const ENOUGH = 20
/** Sorted anew after so many. */
const REFRESH = 10

/** The 95th percentile of the last {@link SIZE} latencies. Memory is fixed; a hundred numbers are sorted for every tenth call. */
export class LatencyWindow {
  readonly #latencies = new Float64Array(SIZE)
  #count = 0
  #p95: number | undefined

  /** `undefined` until there are {@link ENOUGH}. */
  get p95(): number | undefined {
    return this.#p95
  }

  record(latency: number): void {
    this.#latencies[this.#count % SIZE] = latency
    this.#count += 1
    if (this.#count < ENOUGH || this.#count % REFRESH !== 0) return

    const sorted = this.#latencies.slice(0, this.#count).sort()
    this.#p95 = sorted[Math.ceil(sorted.length * 0.95) - 1]
  }
}
