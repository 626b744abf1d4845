/** Who waits for the answer to an item. */
export interface Asker<Out> {
  answered(answer: Out): void
  /** Whether the item has arrived is not known. */
  unanswered(error: unknown): void
}

interface Waiting<In, Out> {
  readonly item: In
  readonly asker: Asker<Out>
}

export interface GatherOptions<In> {
  /** Never two of one kind together. */
  readonly apart?: ((item: In) => string) | undefined
  /** How much of a batch it fills. */
  readonly weight?: ((item: In) => number) | undefined
}

/** Batches under way at a time. One alone would leave the database idle while the answer to a large one travels. */
const LANES = 2
/**
 * What is worth a second batch beside the first; fewer wait for its answer, and become more. What is worth two is shared
 * between both, so that the database works on one while this process goes on with the other.
 */
const WORTH_A_LANE = 50
const MOST_ITEMS = 500
/** A single item may weigh more. */
const MOST_WEIGHT = 1_000_000

/**
 * Group commit. Without load an item leaves at once; while batches are under way the next ones gather, so that batches grow
 * with the load and there is no timer to tune. (DeWitt et al., Implementation Techniques for Main Memory Database Systems, 1984.)
 */
export class Gather<In, Out> {
  readonly #send: (items: readonly In[]) => Promise<readonly Out[]>
  readonly #options: GatherOptions<In>
  #queue: Waiting<In, Out>[] = []
  #lanes = 0
  #planned = false

  /** `send` answers in the order of the items. */
  constructor(send: (items: readonly In[]) => Promise<readonly Out[]>, options: GatherOptions<In> = {}) {
    this.#send = send
    this.#options = options
  }

  /** `asker` is told later, and never before this returns. */
  put(item: In, asker: Asker<Out>): void {
    this.#queue.push({ item, asker })
    this.#plan()
  }

  add(item: In): Promise<Out> {
    return new Promise((answered, unanswered) => this.put(item, { answered, unanswered }))
  }

  /** After the microtasks that are about to bring more. */
  #plan(): void {
    const waits = this.#queue.length
    if (this.#planned || this.#lanes >= LANES || waits === 0 || (this.#lanes > 0 && waits < WORTH_A_LANE)) return

    this.#planned = true
    queueMicrotask(() => {
      this.#planned = false
      void this.#flush()
      this.#plan()
    })
  }

  async #flush(): Promise<void> {
    this.#lanes++
    const batch = this.#take()
    try {
      const answers = await this.#send(batch.map(({ item }) => item))
      this.#lanes--
      for (let i = 0; i < batch.length; i++) batch[i]?.asker.answered(answers[i] as Out)
    } catch (error) {
      this.#lanes--
      for (const { asker } of batch) asker.unanswered(error)
    }
    this.#plan()
  }

  /** The next batch: the longest waiting first. */
  #take(): Waiting<In, Out>[] {
    const { apart, weight } = this.#options
    const batch: Waiting<In, Out>[] = []
    const later: Waiting<In, Out>[] = []
    const kinds = new Set<string>()
    const waits = this.#queue.length
    const most = waits >= 2 * WORTH_A_LANE && this.#lanes < LANES ? Math.ceil(waits / 2) : waits
    let sum = 0

    for (const waiting of this.#queue) {
      const kind = apart?.(waiting.item)
      const heavy = weight?.(waiting.item) ?? 0
      const fits = batch.length < Math.min(most, MOST_ITEMS) && (batch.length === 0 || sum + heavy <= MOST_WEIGHT)
      if (!fits || (kind !== undefined && kinds.has(kind))) {
        later.push(waiting)
        continue
      }
      batch.push(waiting)
      sum += heavy
      if (kind !== undefined) kinds.add(kind)
    }
    this.#queue = later
    return batch
  }
}
