/**
 * A map of bounded size that forgets what was not touched for longest, in O(1) and without timers: two generations,
 * the younger is written, the older only read. When the younger is full it becomes the older.
 */
export class RecentMap<V> {
  readonly #half: number
  #young = new Map<string, V>()
  #old = new Map<string, V>()

  constructor(maxKeys: number) {
    this.#half = Math.max(1, Math.ceil(maxKeys / 2))
  }

  get size(): number {
    return this.#young.size + this.#old.size
  }

  get(key: string): V | undefined {
    return this.#young.get(key) ?? this.#old.get(key)
  }

  set(key: string, value: V): void {
    if (!this.#young.has(key) && this.#young.size >= this.#half) {
      this.#old = this.#young
      this.#young = new Map()
    }
    this.#old.delete(key)
    this.#young.set(key, value)
  }
}
