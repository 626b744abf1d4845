import type { Queryable, Store } from '../index.js'
import type { Transition } from '../store.js'

/*
 * Stores with one bug each, planted at the port, so that it is the same bug in every store. Each is one that a store of this kind
 * is easily written with.
 */
export interface Plant {
  /** Lets others come between. */
  readonly pause: () => Promise<void>
  readonly transaction: <T>(run: (tx: Queryable) => Promise<T>) => Promise<T>
  /** True now and then: when a process that did two things one after the other would have died between them. */
  readonly dies: () => boolean
}

type Mutant = (store: Store<Queryable>, plant: Plant) => Partial<Store<Queryable>>

class Peek extends Error {}

export const MUTANTS: Readonly<Record<string, Mutant>> = {
  'a write is not asked for its fence': (store) => ({
    async commit(batch) {
      const rows = await Promise.all(batch.map(({ id }) => store.load(id)))
      return store.commit(batch.map((transition, i) => ({ ...transition, fence: rows[i]?.fence ?? transition.fence })))
    },
  }),

  'no write can be told from another': (store) => ({
    async load(id) {
      const row = await store.load(id)
      return row && { ...row, token: undefined, records: row.records.map((record) => ({ ...record, seq: 0 })) }
    },
  }),

  'a mailbox is looked into before it is locked': (store, { pause }) => ({
    async receive(id, wait, run) {
      let seen: Parameters<typeof run>[0]
      const look = (mail: typeof seen): never => {
        seen = mail
        throw new Peek()
      }
      await store.receive(id, wait, look).catch((error: unknown) => {
        if (!(error instanceof Peek)) throw error
      })
      await pause()
      return store.receive(id, wait, () => run(seen))
    },
  }),

  'an event is taken apart from the write that says so': (store, { pause }) => ({
    async receive(id, wait, run) {
      let seen: Parameters<typeof run>[0]
      await store.receive(id, wait, (mail) => {
        seen = mail
        return undefined
      })
      await pause()
      const transition = run(seen)
      return transition === undefined || (await store.commit([transition])).has(id)
    },
  }),

  'a transactional step commits apart from its checkpoint': (store, { pause, transaction }) => ({
    async commitWith({ id }, run) {
      const transition = await transaction(run)
      await pause()
      return (await store.commit([transition])).has(id)
    },
  }),

  'where a saga is and what it did are written apart': (store, { dies }) => ({
    commit: (batch) => {
      const torn = ({ record, ...transition }: Transition): Transition => ({ ...transition, record: undefined })
      return store.commit(batch.map((transition) => (dies() ? torn(transition) : transition)))
    },
  }),

  'a child is started apart from the write that says so': (store, { pause }) => ({
    async spawn(parent, child) {
      await store.create(child)
      await pause()
      return (await store.commit([parent])).has(parent.id)
    },
  }),
}

/** The store, but for its bug. */
export function mutate(name: string, store: Store<Queryable>, plant: Plant): Store<Queryable> {
  const bug = (MUTANTS[name] as Mutant)(store, plant)
  return new Proxy(store, {
    get(target, property) {
      const mutated: unknown = Reflect.get(bug, property)
      const value: unknown = mutated ?? Reflect.get(target, property, target)
      return typeof value === 'function' ? value.bind(mutated === undefined ? target : bug) : value
    },
  })
}
