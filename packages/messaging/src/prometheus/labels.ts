/** As many different values become labels, and no more: each is a time series for as long as the process lives. */
const MOST = 1_000

/** Keeps the values of a label few, whoever makes them up. */
export class BoundedLabels {
  readonly #known = new Set<string>()

  /** The value itself, or `other` when there are too many. */
  of(value: string): string {
    if (this.#known.has(value)) return value
    if (this.#known.size >= MOST) return 'other'

    this.#known.add(value)
    return value
  }
}
