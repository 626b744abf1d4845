import { EventEmitter } from 'node:events'
import { expect, test } from 'vitest'
import type { Database } from '../shapes.js'
import { transactionsOf } from './database.js'
import { hintsOf } from './hints.js'

/** A pool that hands over a connection, and reads on: the server has ended it. */
function poolOf(connection: EventEmitter): Database {
  const pool = {
    totalCount: 1,
    waitingCount: 0,
    query: async () => ({ rows: [] }),
    connect(taken?: (error: undefined, client: EventEmitter) => void) {
      taken?.(undefined, connection)
      connection.emit('error', new Error('terminating connection due to administrator command'))
      return Promise.resolve(connection)
    },
  }
  return pool as unknown as Database
}

test('hears of the end of a connection in the moment in which it gets it', async () => {
  const released: unknown[] = []
  const connection = Object.assign(new EventEmitter(), {
    query: async () => {
      throw new Error('Connection terminated')
    },
    release: (broken: unknown) => void released.push(broken),
  })

  const begun = transactionsOf(poolOf(connection)).own(async () => 'done')

  await expect(begun).rejects.toThrow('Connection terminated')
  expect(released).toEqual([true])
})

test('who listens for hints hears of it too, and says so', async () => {
  const connection = Object.assign(new EventEmitter(), {
    query: async () => {
      throw new Error('Connection terminated')
    },
    release: () => {},
  })

  const told = await new Promise((resolve) => {
    const leave = hintsOf(poolOf(connection) as never, 'saga').listen(
      () => {},
      (error) => {
        leave()
        resolve(error)
      },
    )
  })

  expect(told).toEqual(new Error('Connection terminated'))
})
