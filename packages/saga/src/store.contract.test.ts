import { afterAll, describe, test } from 'vitest'
import { memoryStore } from './memory.js'
import { pgliteDatabase, postgresDatabase } from './testing/databases.js'
import { storeContract } from './testing/store-contract.js'

const databases = [await pgliteDatabase(), await postgresDatabase()]

afterAll(async () => {
  for (const database of databases) await database?.close()
})

describe('memoryStore', () => {
  const store = () => memoryStore({ transaction: (run) => run({ query: async () => ({ rows: [] }) }) })
  for (const { name, run } of storeContract(store)) test(name, run)
})

describe.each(['PGlite', 'PostgreSQL'])('postgresStore on %s', (kind) => {
  const database = databases.find((candidate) => candidate?.name === kind)
  const make = async () => (database as NonNullable<typeof database>).store()
  for (const { name, run } of storeContract(make)) test.skipIf(database === undefined)(name, run)
})
