import { randomUUID } from 'node:crypto'
import { type PostgresStore, postgresStore } from '@msx/saga/postgres'
import type { Pool } from 'pg'

/** A worker that claims by hand what nobody runs. */
export interface Claimer {
  /** Makes so many sagas due, and answers how long it takes to claim them, in ns each. */
  claim(count: number): Promise<number>
  /** How long it takes to find that nothing is due, in ns. */
  idle(): Promise<number>
}

const CAN = [{ name: 'claimed', version: 1 }]

export async function claimer(pool: Pool, schema: string): Promise<Claimer> {
  const store = postgresStore({ pool, schema })
  await store.migrate()
  const worker = randomUUID()
  await store.enlist(worker, 3_600_000)

  return {
    async claim(count) {
      await Promise.all(Array.from({ length: count }, () => store.create(due())))
      const startedAt = performance.now()
      const claimed = await store.claim({ worker, can: CAN, limit: count })
      const took = performance.now() - startedAt
      if (claimed.length !== count) throw new Error(`claimed ${claimed.length} sagas, not ${count}`)
      return (took * 1e6) / count
    },
    async idle() {
      const startedAt = performance.now()
      const claimed = await store.claim({ worker, can: CAN, limit: 100 })
      if (claimed.length > 0) throw new Error('something was due')
      return (performance.now() - startedAt) * 1e6
    },
  }
}

type NewSaga = Parameters<PostgresStore['create']>[0]

function due(): NewSaga {
  return {
    ...{ id: randomUUID(), name: 'claimed', version: 1, shape: '00000000', key: undefined, tags: {}, delay: 0 },
    ...{ input: '{"order":"order-1","amount":7}', deadline: undefined, worker: undefined },
    progress: {
      ...{ status: 'running', direction: 'forward', cursor: 0, committed: false, attempt: 0, delay: 0, intent: false },
    } as NewSaga['progress'],
  }
}
