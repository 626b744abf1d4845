import { EventEmitter } from 'node:events'
import { expect, test } from 'vitest'
import { type Pooled, pooledDatabase } from './database.js'

test('a connection that ends in the moment in which it is taken does not end the process', async () => {
  const released: unknown[] = []
  const connection = Object.assign(new EventEmitter(), {
    query: async () => {
      throw new Error('Connection terminated')
    },
    release: (close: unknown) => void released.push(close),
  })
  const pool = {
    connect(taken: (error: undefined, connection: unknown) => void) {
      taken(undefined, connection)
      // Read in the same go as what made it ready.
      connection.emit('error', new Error('terminating connection due to administrator command'))
    },
  }

  await expect(pooledDatabase(pool as unknown as Pooled).transaction(async () => 'done')).rejects.toThrow(
    'Connection terminated',
  )
  expect(released).toEqual([true])
  expect(connection.listenerCount('error')).toBe(0)
})

test('a pool that has no connection to give says why', async () => {
  const pool = { connect: (taken: (error: Error) => void) => taken(new Error('timeout exceeded')) }

  await expect(pooledDatabase(pool as unknown as Pooled).transaction(async () => 'done')).rejects.toThrow(
    'timeout exceeded',
  )
})
