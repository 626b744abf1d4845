import type { Snapshot } from '../snapshot.js'
import type { Aborts } from './aborts.js'
import { keepAlive } from './keep-alive.js'

/** What `changes` watches: the snapshot of now, and a way to hear of the next or of the end. */
export interface Changing {
  readonly snapshot: Snapshot
  readonly closed: boolean
  /** Calls `wake` once, on the next snapshot or the end. Returns the function that calls it off. */
  once(wake: () => void): () => void
  readonly aborts: Aborts
}

/**
 * The snapshots of a service from now on, the present one first if there is one. A reader who is slower than the changes
 * gets the latest, not each. Ends when the service is closed; rejects with the signal's reason when it aborts.
 */
export function changesOf(service: Changing, signal: AbortSignal | undefined): AsyncIterable<Snapshot> {
  return { [Symbol.asyncIterator]: () => new ChangesIterator(service, signal) }
}

/** By hand rather than a generator: `return` must end a `next` that waits, and a generator would queue behind it. */
class ChangesIterator implements AsyncIterator<Snapshot> {
  readonly #service: Changing
  readonly #signal: AbortSignal | undefined
  #seen = 0
  #ended = false
  readonly #waiting = new Set<() => void>()

  constructor(service: Changing, signal: AbortSignal | undefined) {
    this.#service = service
    this.#signal = signal
  }

  async next(): Promise<IteratorResult<Snapshot>> {
    while (!this.#ended) {
      this.#signal?.throwIfAborted()

      const { snapshot, closed } = this.#service
      if (closed) break
      if (snapshot.version > this.#seen) {
        this.#seen = snapshot.version
        return { done: false, value: snapshot }
      }
      await this.#news()
    }
    return { done: true, value: undefined }
  }

  async return(): Promise<IteratorResult<Snapshot>> {
    this.#ended = true
    for (const wake of this.#waiting) wake()
    return { done: true, value: undefined }
  }

  async #news(): Promise<void> {
    let wake!: () => void
    const woken = new Promise<void>((resolve) => {
      wake = resolve
    })
    const forget = this.#service.once(wake)
    const forgetSignal = this.#service.aborts.once(this.#signal, wake)
    this.#waiting.add(wake)
    const letGo = keepAlive()

    try {
      await woken
    } finally {
      letGo()
      forget()
      forgetSignal()
      this.#waiting.delete(wake)
    }
  }
}
