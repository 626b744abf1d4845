/** Fewer places than these may stay in front of the head. */
const WORTH_A_COPY = 64

/** First in, first out, without a copy for each that leaves, and with a way back in. */
export class Fifo<T> {
  #items: (T | undefined)[] = []
  /** The places of what has left stay in front of it until they are as many as the rest. */
  #head = 0

  get size(): number {
    return this.#items.length - this.#head
  }

  peek(): T | undefined {
    return this.#items[this.#head]
  }

  push(item: T): void {
    this.#items.push(item)
  }

  shift(): T | undefined {
    const item = this.#items[this.#head]
    if (item === undefined) return undefined

    this.#items[this.#head] = undefined
    this.#head += 1
    if (this.#head === this.#items.length) {
      this.#items.length = 0
      this.#head = 0
    } else if (this.#head >= WORTH_A_COPY && this.#head * 2 >= this.#items.length) {
      this.#items = this.#items.slice(this.#head)
      this.#head = 0
    }
    return item
  }

  *[Symbol.iterator](): Iterator<T> {
    for (let at = this.#head; at < this.#items.length; at += 1) yield this.#items[at] as T
  }

  /** In front of everything, in their order. */
  unshift(items: readonly T[]): void {
    this.#items = [...items, ...this.#items.slice(this.#head)]
    this.#head = 0
  }

  /** Behind the first ones, those that hold. What comes back came from the front, so the search starts there. */
  insertBehind(item: T, holds: (other: T) => boolean): void {
    let at = this.#head
    while (at < this.#items.length && holds(this.#items[at] as T)) at += 1
    this.#items.splice(at, 0, item)
  }

  /** Takes out what does not hold. */
  keep(holds: (item: T) => boolean): void {
    this.#items = (this.#items.slice(this.#head) as T[]).filter(holds)
    this.#head = 0
  }
}
