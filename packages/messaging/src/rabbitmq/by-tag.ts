/** Room at first. A power of two. */
const SMALLEST = 64

/**
 * Items by the number they were given: 1, 2, 3, … without gaps. A ring with room for those from the oldest that is
 * still there to the newest.
 */
export class ByTag<T> {
  #items: (T | undefined)[] = new Array(SMALLEST).fill(undefined)
  #mask = SMALLEST - 1
  /** The oldest that is still there, or the next one. */
  #first = 1
  #next = 1

  /** The number of the oldest, or of the next one when there is none. */
  get first(): number {
    return this.#first
  }

  /** The number of the next one. */
  get next(): number {
    return this.#next
  }

  /** Returns its number. */
  push(item: T): number {
    if (this.#next - this.#first > this.#mask) this.#grow()
    this.#items[this.#next & this.#mask] = item

    return this.#next++
  }

  get(tag: number): T | undefined {
    return tag >= this.#first && tag < this.#next ? this.#items[tag & this.#mask] : undefined
  }

  /** In the place of one that is there. */
  put(tag: number, item: T): void {
    if (this.get(tag) !== undefined) this.#items[tag & this.#mask] = item
  }

  /** Returns what was there. */
  take(tag: number): T | undefined {
    const item = this.get(tag)
    if (item === undefined) return undefined

    this.#items[tag & this.#mask] = undefined
    while (this.#first < this.#next && this.#items[this.#first & this.#mask] === undefined) this.#first += 1
    return item
  }

  /** From the oldest to the newest. */
  *[Symbol.iterator](): Iterator<T> {
    for (let tag = this.#first; tag < this.#next; tag += 1) {
      const item = this.#items[tag & this.#mask]
      if (item !== undefined) yield item
    }
  }

  #grow(): void {
    const larger = new Array<T | undefined>(this.#items.length * 2).fill(undefined)
    const mask = larger.length - 1
    for (let tag = this.#first; tag < this.#next; tag += 1) larger[tag & mask] = this.#items[tag & this.#mask]
    this.#items = larger
    this.#mask = mask
  }
}
