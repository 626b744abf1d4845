import { afterAll, afterEach, beforeAll, type TestAPI, test } from 'vitest'
import {
  createSagaEngine,
  memoryStore,
  type Queryable,
  type SagaEngine,
  type SagaEngineOptions,
  type Store,
} from '../index.js'
import { pgliteDatabase, postgresDatabase, type TestDatabase } from './databases.js'

/** A kind of store that a suite is run on. */
export const KINDS = ['memory', 'PGlite', 'PostgreSQL'] as const
export type Kind = (typeof KINDS)[number]

export interface StoreFixture {
  /** Undefined in memory, and where no server answers. */
  readonly database: TestDatabase | undefined
  /** `test`, skipped where the store is not there. */
  readonly it: TestAPI | ReturnType<typeof test.skipIf>
  readonly store: Store<Queryable>
  /** Closed after each test. */
  readonly engines: SagaEngine[]
  engineFor(
    sagas: SagaEngineOptions<Queryable>['sagas'],
    options?: Partial<SagaEngineOptions<Queryable>>,
  ): Promise<SagaEngine>
}

/** To be called once by a file; what it answers is to be called in a `describe` for each kind. */
export async function everyStore(): Promise<(kind: Kind) => StoreFixture> {
  const databases: Record<Kind, TestDatabase | undefined> = {
    memory: undefined,
    PGlite: await pgliteDatabase(),
    PostgreSQL: await postgresDatabase(),
  }
  afterAll(async () => {
    for (const database of Object.values(databases)) await database?.close()
  })

  return (kind) => {
    const database = databases[kind]
    const engines: SagaEngine[] = []
    let store: Store<Queryable>

    beforeAll(async () => {
      const nothing: Queryable = { query: async () => ({ rows: [] }) }
      store = database ? await database.store() : memoryStore({ transaction: (run) => run(nothing) })
    })
    afterEach(async () => {
      for (const engine of engines.splice(0)) await engine.close({ timeout: 0 })
    })

    return {
      database,
      it: test.skipIf(kind !== 'memory' && database === undefined),
      engines,
      get store() {
        return store
      },
      async engineFor(sagas, options = {}) {
        const engine = createSagaEngine({ store, sagas, ...options })
        engines.push(engine)
        await engine.run()
        return engine
      },
    }
  }
}

/** A promise and the power over it. */
export function gate<T = void>(): { promise: Promise<T>; open(value: T): void } {
  let open: (value: T) => void = () => undefined
  const promise = new Promise<T>((resolve) => {
    open = resolve
  })
  return { promise, open }
}
