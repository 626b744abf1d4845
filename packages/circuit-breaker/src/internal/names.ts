/** How many different names become labels. */
const MOST = 1_000

/** Keeps the values of a label few: where circuits are named after hosts, strangers may choose the names. */
export class Names {
  readonly #known = new Set<string>()

  /** The name itself, or `other` when there are too many. */
  label(name: string): string {
    if (this.#known.has(name)) return name
    if (this.#known.size >= MOST) return 'other'

    this.#known.add(name)
    return name
  }
}
