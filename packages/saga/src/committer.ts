import { type Asker, Gather } from './internal/gather.js'
import type { Store, Transition } from './store.js'

/** Writes the checkpoints of many sagas together: see `Gather`. */
export class Committer {
  readonly #store: Pick<Store<unknown>, 'commit'>
  readonly #gather: Gather<Transition, boolean>
  readonly #onBatch: (rows: number, took: number) => void

  constructor(
    store: Pick<Store<unknown>, 'commit'>,
    now: () => number,
    onBatch: (rows: number, took: number) => void = () => undefined,
  ) {
    this.#store = store
    this.#onBatch = onBatch
    const send = async (items: readonly Transition[]): Promise<boolean[]> => {
      const began = now()
      // Two statements that lock the rows of one saga each in one order cannot wait for each other.
      const accepted = await store.commit(items.length > 1 ? [...items].sort(byId) : items)
      onBatch(items.length, now() - began)
      return items.map(({ id }) => accepted.has(id))
    }
    this.#gather = new Gather(send, {
      apart: ({ id }) => id,
      weight: ({ record, output }) => (record?.output?.length ?? 0) + (output?.length ?? 0),
    })
  }

  /** Whether the store accepted it, if that is known at once. Otherwise undefined, and `asker` is told. */
  put(transition: Transition, asker: Asker<boolean>): boolean | undefined {
    const accepted = this.#store.commit.now?.(transition)
    if (accepted === undefined) this.#gather.put(transition, asker)
    else this.#onBatch(1, 0)
    return accepted
  }

  /**
   * Whether the store accepted it. Rejects when the store did not answer, which may be another's fault: a payload that no
   * database takes fails the whole statement. Whoever tries again does so `alone`.
   */
  async commit(transition: Transition, alone: boolean): Promise<boolean> {
    return alone ? (await this.#store.commit([transition])).has(transition.id) : this.#gather.add(transition)
  }
}

function byId(a: Transition, b: Transition): number {
  return a.id < b.id ? -1 : 1
}
