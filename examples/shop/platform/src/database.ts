import type { Database as PackageDatabase } from '@msx/messaging/postgres'

/** What a service asks of SQL. `query` takes one statement, `execute` a script of several without values. */
export interface Sql {
  query<R = Record<string, unknown>>(text: string, values?: unknown[]): Promise<{ rows: R[] }>
  execute(script: string): Promise<void>
}

export interface Database extends Sql {
  /**
   * Runs `run` in one transaction, rolled back when it rejects. Inside it, ask `tx` and never the database itself: an
   * embedded database has one connection, and the outer question would wait for the transaction that waits for it.
   */
  transaction<T>(run: (tx: Sql) => Promise<T>): Promise<T>
  /**
   * The same for what keeps a connection of its own, as an outbox's relay does: a pool where there is one, this database
   * where there is but one connection for everybody.
   */
  readonly pool: PackageDatabase
}

interface Answering {
  query<R = Record<string, unknown>>(text: string, values?: unknown[]): Promise<{ rows: R[]; command: string }>
}

interface PooledConnection extends Answering {
  on(event: 'error', listener: () => void): unknown
  off(event: 'error', listener: () => void): unknown
  /** `true` closes it instead of giving it back. */
  release(close?: boolean): void
}

/** The part of a `pg.Pool` that is used here. */
export interface Pooled extends Answering {
  connect(): Promise<PooledConnection>
  connect(taken: (error: Error | undefined, connection?: PooledConnection) => void): void
}

/**
 * A connection of the pool, with somebody who listens to its errors. It can break in the moment in which it is handed
 * over, before a promise is followed up, and a connection that breaks with nobody listening ends the process.
 */
function take(pool: Pooled): Promise<PooledConnection> {
  return new Promise((resolve, reject) => {
    pool.connect((error, connection) => {
      if (connection === undefined) return reject(error as Error)

      connection.on('error', ignore)
      resolve(connection)
    })
  })
}

function ignore(): void {}

/** The schema of a service's outbox and inbox; it is there before the service is, since its role may make none. */
export function messagingSchema(service: string): string {
  return `${service.replaceAll('-', '_')}_messaging`
}

/** A service's own database on a PostgreSQL server, through a pool of connections that its role was let in with. */
export function pooledDatabase(pool: Pooled): Database {
  return {
    pool,
    query: (text, values) => pool.query(text, values),
    execute: async (script) => void (await pool.query(script)),

    async transaction(run) {
      // One that breaks also says so by itself; here it is enough that its next query rejects.
      const connection = await take(pool)
      const tx = lend(connection)
      let clean = false
      try {
        await connection.query('BEGIN')
        const result = await run(tx.sql)
        const { command } = await connection.query('COMMIT')
        clean = true
        // The polite answer of PostgreSQL to whoever caught the error of a statement and went on.
        if (command === 'ROLLBACK') throw new Error('nothing was committed, because a statement had failed before')
        return result
      } catch (error) {
        // Behind a query that still runs, because `run` did not wait for it, a ROLLBACK would wait as well.
        clean ||= !tx.busy && (await rollBack(connection))
        throw error
      } finally {
        tx.end()
        connection.off('error', ignore)
        connection.release(!clean)
      }
    },
  }
}

/** A connection for the time of one transaction: whoever keeps it longer must not write into that of the next. */
function lend(connection: Answering) {
  let running = 0
  let over = false

  async function ask<R>(text: string, values?: unknown[]): Promise<{ rows: R[] }> {
    if (over) throw new Error('this transaction is over')

    running += 1
    try {
      return await connection.query<R>(text, values)
    } finally {
      running -= 1
    }
  }
  const sql: Sql = { query: ask, execute: async (script) => void (await ask(script)) }

  return {
    sql,
    get busy() {
      return running > 0
    },
    end() {
      over = true
    },
  }
}

/** Whether the connection is fit for the next transaction. */
function rollBack(connection: Answering): Promise<boolean> {
  return connection.query('ROLLBACK').then(
    () => true,
    () => false,
  )
}
