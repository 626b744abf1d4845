import type { Queryable } from '../shapes.js'
import type { Hints } from '../store.js'
import { connectorOf } from './database.js'

/** What a pool's connection is to us beyond a `Queryable`. */
interface Listening extends Queryable {
  release(error?: Error | boolean): void
  on(event: 'notification', heard: (message: { readonly channel: string; readonly payload?: string }) => void): unknown
  on(event: 'error' | 'end', gone: () => void): unknown
  off(event: 'notification' | 'error' | 'end', listener: (...args: never[]) => void): unknown
}

type Pool = Queryable & { connect(): Promise<unknown> }

/** Hints of so many milliseconds become one. */
const TOGETHER = 10
/** How long to wait before a connection that broke is made anew, in milliseconds. */
const AGAIN = 1_000

/**
 * NOTIFY, in a statement and a transaction of its own: every NOTIFY takes a lock that the commits of the whole server queue
 * for, so a checkpoint never has one. LISTEN has one connection of the pool to itself.
 */
export function hintsOf(pool: Pool, schema: string): Hints {
  const channel = `${schema}.due`
  const connect = connectorOf(pool)
  const self = crypto.randomUUID()
  let planned: Promise<void> | undefined

  const tell = (): Promise<void> => {
    planned ??= new Promise((resolve) => setTimeout(resolve, TOGETHER)).then(async () => {
      planned = undefined
      await pool.query('SELECT pg_notify($1, $2)', [channel, self])
    })
    return planned
  }

  const listen = (heard: () => void, onError: (error: unknown) => void): (() => void) => {
    let stopped = false
    let leave = (): void => undefined
    let retry: NodeJS.Timeout | undefined

    const begin = async (): Promise<void> => {
      const client = (await connect()) as Listening
      const onNotification = (message: { readonly channel: string; readonly payload?: string }): void => {
        if (message.channel === channel && message.payload !== self) heard()
      }
      let gone = false
      const end = (broken: boolean): void => {
        if (gone) return
        gone = true
        client.off('notification', onNotification)
        client.off('end', onEnd)
        // Closed rather than given back: what was still on its way to it belongs to nobody. An error while it closes is none.
        client.release(true)
        if (broken && !stopped) again()
      }
      const onEnd = (): void => end(true)
      client.on('notification', onNotification)
      client.on('error', onEnd)
      client.on('end', onEnd)
      leave = () => end(false)
      if (stopped) return leave()
      try {
        await client.query(`LISTEN "${channel}"`)
      } catch (error) {
        end(false)
        throw error
      }
      // What was told while nobody listened.
      heard()
    }
    const again = (): void => {
      retry = setTimeout(start, AGAIN).unref()
    }
    const start = (): void => {
      begin().catch((error: unknown) => {
        if (stopped) return
        onError(error)
        again()
      })
    }

    start()
    return () => {
      stopped = true
      clearTimeout(retry)
      leave()
    }
  }

  return { tell, listen }
}
