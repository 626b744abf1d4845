import pg from 'pg'
import { missingServer } from '../../../tooling/missing-server.js'

export const URL_OF_SERVER = process.env['DATABASE_URL'] ?? 'postgres://postgres@127.0.0.1:5432/postgres'

/** Connections that count. */
export interface Connections {
  readonly pool: pg.Pool
  /** Statements that were sent by them so far. */
  sent(): number
}

/** A database of this run only, and connections to it. */
export interface Place extends Connections {
  readonly url: string
  /** As many again. */
  connections(): Connections
  close(): Promise<void>
}

/** As many as DBOS has by default. */
const CONNECTIONS = 10

/** Undefined when no server answers, unless MSX_REQUIRE_SERVICES says that it must. */
export async function openPlace(): Promise<Place | undefined> {
  const server = new pg.Pool({ connectionString: URL_OF_SERVER, max: 1, connectionTimeoutMillis: 3_000 })
  const name = `msx_bench_saga_${process.pid}`
  try {
    await server.query(`CREATE DATABASE ${name}`)
  } catch (error) {
    await server.end()
    return missingServer('postgres', URL_OF_SERVER, error)
  }

  const url = new URL(URL_OF_SERVER)
  url.pathname = `/${name}`
  const pools: pg.Pool[] = []
  const connections = (): Connections => {
    let sent = 0
    class Counting extends pg.Client {
      // biome-ignore lint/suspicious/noExplicitAny: as overloaded as the method it counts
      override query(...args: any[]): any {
        sent += 1
        return (super.query as (...given: unknown[]) => unknown)(...args)
      }
    }
    const pool = new pg.Pool({ connectionString: url.href, max: CONNECTIONS, Client: Counting })
    pool.on('error', () => {})
    pools.push(pool)
    return { pool, sent: () => sent }
  }

  return {
    ...connections(),
    url: url.href,
    connections,
    close: async () => {
      await Promise.all(pools.map((pool) => pool.end()))
      await server.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`)
      await server.end()
    },
  }
}
