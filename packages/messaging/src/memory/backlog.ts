/** Something with its place in the order of arrival. */
interface Placed {
  readonly place: number
}

/** First in, first out, in which what was taken out can be put back to its place. */
export class Backlog<T extends Placed> {
  #items: T[] = []
  /** Taken items stay in front of it until they are as many as the rest, so that `shift` costs no copy. */
  #head = 0

  get size(): number {
    return this.#items.length - this.#head
  }

  peek(): T | undefined {
    return this.#items[this.#head]
  }

  /** Only in order of `place`. */
  push(item: T): void {
    this.#items.push(item)
  }

  shift(): T | undefined {
    const item = this.#items[this.#head]
    if (item === undefined) return undefined

    this.#head += 1
    if (this.#head * 2 >= this.#items.length) {
      this.#items = this.#items.slice(this.#head)
      this.#head = 0
    }
    return item
  }

  *[Symbol.iterator](): Iterator<T> {
    for (let at = this.#head; at < this.#items.length; at += 1) yield this.#items[at] as T
  }

  /** Before everything that arrived later. What comes back came from the front, so the search starts there. */
  putBack(item: T): void {
    let at = this.#head
    while (at < this.#items.length && (this.#items[at] as T).place < item.place) at += 1
    this.#items.splice(at, 0, item)
  }
}
