import type { Timekeeper } from '../clock.js'
import { LONGEST_DELAY } from '../internal/check.js'

interface Entry {
  readonly due: number
  /** Entries due at the same time run in the order they were made. */
  readonly order: number
  readonly run: () => void
}

/**
 * What is to happen later, as a binary heap with one timer for its top. While paused it keeps no timer, and so holds
 * no process alive; what fell due meanwhile runs when it resumes.
 */
export class Agenda {
  readonly #time: Timekeeper
  readonly #heap: Entry[] = []
  #made = 0
  #paused = true
  #timer: { readonly due: number; readonly cancel: () => void } | undefined

  constructor(time: Timekeeper) {
    this.#time = time
  }

  after(ms: number, run: () => void): void {
    this.#push({ due: this.#time.now() + ms, order: this.#made++, run })
    this.#arm()
  }

  pause(): void {
    this.#paused = true
    this.#timer?.cancel()
    this.#timer = undefined
  }

  resume(): void {
    this.#paused = false
    this.#arm()
  }

  #arm(): void {
    const next = this.#heap[0]
    if (this.#paused || next === undefined || this.#timer?.due === next.due) return

    this.#timer?.cancel()
    // A whole millisecond up: timers that fire a fraction early would only be set again.
    const wait = Math.min(Math.ceil(next.due - this.#time.now()), LONGEST_DELAY)
    this.#timer = { due: next.due, cancel: this.#time.after(Math.max(wait, 0), () => this.#ring()) }
  }

  #ring(): void {
    this.#timer = undefined
    const now = this.#time.now()
    while (this.#heap[0] !== undefined && this.#heap[0].due <= now) this.#pop().run()
    this.#arm()
  }

  #push(entry: Entry): void {
    const heap = this.#heap
    let at = heap.length
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!isBefore(entry, heap[parent] as Entry)) break
      heap[at] = heap[parent] as Entry
      at = parent
    }
    heap[at] = entry
  }

  /** Only for a heap that is not empty. */
  #pop(): Entry {
    const heap = this.#heap
    const top = heap[0] as Entry
    const last = heap.pop() as Entry
    if (heap.length === 0) return top

    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && isBefore(heap[child + 1] as Entry, heap[child] as Entry)) child += 1
      if (!isBefore(heap[child] as Entry, last)) break
      heap[at] = heap[child] as Entry
      at = child
    }
    heap[at] = last
    return top
  }
}

function isBefore(a: Entry, b: Entry): boolean {
  return a.due < b.due || (a.due === b.due && a.order < b.order)
}
