import type { Clock } from '../shapes.js'

interface Planned {
  readonly at: number
  readonly place: number
  readonly run: () => void
}

/** One clock and one queue for everything that a simulation does: it runs one thing at a time, in one order. */
export class Timeline {
  #now = 0
  #places = 0
  /** A binary heap, the next thing first. */
  readonly #heap: Planned[] = []

  now(): number {
    return this.#now
  }

  /** Things planned for one moment run in the order in which they were planned. */
  after(ms: number, run: () => void): () => void {
    let live = true
    this.#push({ at: this.#now + Math.max(0, Math.ceil(ms)), place: this.#places++, run: () => live && run() })
    return () => {
      live = false
    }
  }

  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => void this.after(ms, resolve))
  }

  /** Runs what is planned until `end` says so, or nothing is planned any more. */
  async until(end: () => boolean): Promise<void> {
    while (!end()) {
      const next = this.#pop()
      if (!next) return
      this.#now = next.at
      next.run()
      // Every promise that this has settled is followed up before anything else happens.
      await new Promise(setImmediate)
    }
  }

  #push(planned: Planned): void {
    const heap = this.#heap
    let at = heap.push(planned) - 1
    while (at > 0) {
      const above = (at - 1) >> 1
      if (!isBefore(planned, heap[above] as Planned)) break
      heap[at] = heap[above] as Planned
      at = above
    }
    heap[at] = planned
  }

  #pop(): Planned | undefined {
    const heap = this.#heap
    const first = heap[0]
    const last = heap.pop()
    if (!last || heap.length === 0) return first
    let at = 0
    for (;;) {
      let below = 2 * at + 1
      if (below >= heap.length) break
      if (below + 1 < heap.length && isBefore(heap[below + 1] as Planned, heap[below] as Planned)) below++
      if (!isBefore(heap[below] as Planned, last)) break
      heap[at] = heap[below] as Planned
      at = below
    }
    heap[at] = last
    return first
  }
}

function isBefore(a: Planned, b: Planned): boolean {
  return a.at < b.at || (a.at === b.at && a.place < b.place)
}

/** A process: it may stop for a while, with all that is on its way to it waiting, and it may die. */
export class Process {
  readonly #timeline: Timeline
  readonly name: string
  #state: 'runs' | 'stopped' | 'dead' = 'runs'
  #waiting: (() => void)[] = []
  readonly #mourners = new Set<() => void>()

  constructor(timeline: Timeline, name: string) {
    this.#timeline = timeline
    this.name = name
  }

  get lives(): boolean {
    return this.#state !== 'dead'
  }

  get isStopped(): boolean {
    return this.#state === 'stopped'
  }

  /** Something reaches it: now, when it goes on, or never. */
  reach(run: () => void): void {
    if (this.#state === 'runs') run()
    else if (this.#state === 'stopped') this.#waiting.push(run)
  }

  readonly clock: Required<Clock> = {
    now: () => this.#timeline.now(),
    after: (ms, run) => {
      let live = true
      const cancel = this.#timeline.after(ms, () => this.reach(() => live && run()))
      return () => {
        live = false
        cancel()
      }
    },
  }

  stop(): void {
    if (this.#state === 'runs') this.#state = 'stopped'
  }

  /** What has come meanwhile happens in its order, each thing with all that follows from it. */
  go(): void {
    if (this.#state !== 'stopped') return

    this.#state = 'runs'
    for (const run of this.#waiting.splice(0)) this.#timeline.after(0, () => this.reach(run))
  }

  kill(): void {
    this.#state = 'dead'
    this.#waiting = []
    for (const mourn of [...this.#mourners]) mourn()
    this.#mourners.clear()
  }

  /** Called when it dies; returns the removal. */
  onDeath(mourn: () => void): () => void {
    if (!this.lives) mourn()
    else this.#mourners.add(mourn)
    return () => void this.#mourners.delete(mourn)
  }
}
