import { ByTag } from './by-tag.js'

/** What to tell the broker: everything up to a number at once, then some by themselves. */
export interface Word {
  readonly upTo: number | undefined
  readonly singles: readonly number[]
}

/**
 * Which deliveries of a channel can be acknowledged together. "Everything up to n" settles whatever has a lower number
 * and is not settled, so n is below the first delivery that a handler still has. And n is a delivery that the broker
 * waits for: RabbitMQ settles all lower ones and then closes the channel over a number that it does not know.
 */
export class Settlements {
  /** What the broker waits for. */
  readonly #fates = new ByTag<'held' | 'done'>()
  #done: number[] = []
  #held = 0

  /** How many deliveries nobody has settled. */
  get held(): number {
    return this.#held
  }

  /** Its number on the channel. One that was left out counts as held for good. */
  deliver(tag: number): void {
    while (this.#fates.next <= tag) this.#fates.push('held')
    this.#held += 1
  }

  /** To be acknowledged with the next word. */
  done(tag: number): void {
    this.#fates.put(tag, 'done')
    this.#done.push(tag)
    this.#held -= 1
  }

  /** The broker was told of this one by itself. */
  told(tag: number): void {
    this.#fates.take(tag)
    this.#held -= 1
  }

  /** Everything done since the last word. */
  take(): Word {
    let upTo: number | undefined
    let end = this.#fates.first
    for (; end < this.#fates.next; end += 1) {
      const fate = this.#fates.get(end)
      if (fate === 'held') break
      if (fate === 'done') upTo = end
    }

    const done = this.#done
    this.#done = []
    const singles: number[] = []
    for (const tag of done) {
      if (tag > end) singles.push(tag)
      this.#fates.take(tag)
    }

    return { upTo, singles }
  }
}
