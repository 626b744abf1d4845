import type { Store, Transition } from './store.js'

interface Waiting {
  readonly transition: Transition
  readonly resolve: (accepted: boolean) => void
  readonly reject: (error: unknown) => void
}

/** Statements under way at a time. One alone would leave the database idle while its answer travels. */
const LANES = 2
const MOST_ROWS = 500
/** Characters of payload in one statement; a single transition may be longer. */
const MOST_TEXT = 1_000_000

/**
 * Group commit. Without load a transition leaves at once; while statements are under way the next ones gather, so that
 * batches grow with the load and there is no timer to tune. (DeWitt et al., Implementation Techniques for Main Memory
 * Database Systems, 1984.)
 */
export class Committer {
  readonly #store: Pick<Store<unknown>, 'commit'>
  #queue: Waiting[] = []
  #lanes = 0
  #planned = false
  readonly #onBatch: (rows: number, took: number) => void
  readonly #now: () => number

  constructor(
    store: Pick<Store<unknown>, 'commit'>,
    now: () => number,
    onBatch: (rows: number, took: number) => void = () => undefined,
  ) {
    this.#store = store
    this.#now = now
    this.#onBatch = onBatch
  }

  /**
   * Whether the store accepted it. Rejects when the store did not answer, which may be another's fault: a payload that no
   * database takes fails the whole statement. Whoever tries again does so `alone`.
   */
  async commit(transition: Transition, alone: boolean): Promise<boolean> {
    if (alone) return (await this.#store.commit([transition])).has(transition.id)

    return new Promise((resolve, reject) => {
      this.#queue.push({ transition, resolve, reject })
      this.#plan()
    })
  }

  /** After the microtasks that are about to bring more. */
  #plan(): void {
    if (this.#planned || this.#lanes >= LANES || this.#queue.length === 0) return

    this.#planned = true
    queueMicrotask(() => {
      this.#planned = false
      void this.#send()
      this.#plan()
    })
  }

  async #send(): Promise<void> {
    const batch = this.#take()
    const began = this.#now()
    this.#lanes++
    try {
      const accepted = await this.#store.commit(batch.map(({ transition }) => transition))
      this.#onBatch(batch.length, this.#now() - began)
      for (const { transition, resolve } of batch) resolve(accepted.has(transition.id))
    } catch (error) {
      for (const { reject } of batch) reject(error)
    } finally {
      this.#lanes--
      this.#plan()
    }
  }

  /** The next batch: the longest waiting first, one transition per saga, sorted so that two batches lock in one order. */
  #take(): Waiting[] {
    const batch = new Map<string, Waiting>()
    const later: Waiting[] = []
    let text = 0

    for (const waiting of this.#queue) {
      const { id, record, output } = waiting.transition
      const length = (record?.output?.length ?? 0) + (output?.length ?? 0)
      if (batch.has(id) || batch.size >= MOST_ROWS || (batch.size > 0 && text + length > MOST_TEXT)) {
        later.push(waiting)
      } else {
        batch.set(id, waiting)
        text += length
      }
    }
    this.#queue = later
    return [...batch.values()].sort((a, b) => (a.transition.id < b.transition.id ? -1 : 1))
  }
}
