import { Gather } from './internal/gather.js'
import type { Store, Transition } from './store.js'

/** Writes the checkpoints of many sagas together: see `Gather`. */
export class Committer {
  readonly #store: Pick<Store<unknown>, 'commit'>
  readonly #gather: Gather<Transition, boolean>

  constructor(
    store: Pick<Store<unknown>, 'commit'>,
    now: () => number,
    onBatch: (rows: number, took: number) => void = () => undefined,
  ) {
    this.#store = store
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
