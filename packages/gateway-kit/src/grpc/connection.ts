import type { Client } from '@grpc/grpc-js'
import { after, type Clock } from '../clock.js'
import type { Grpc } from './libraries.js'

/** Whether there is a connection: `failed` means that the last try to have one failed, and that calls fail at once. */
export type Connected = 'ready' | 'failed' | 'timeout'

/**
 * Tells once whether the client has a connection, at once where that is known already; one that is idle begins to
 * connect. `limit` is in milliseconds. Returns what ends the wait.
 */
export function awaitConnection(
  grpc: Grpc,
  client: Client,
  limit: number | false,
  clock: Clock,
  done: (connected: Connected) => void,
): () => void {
  const { READY, TRANSIENT_FAILURE, SHUTDOWN } = grpc.connectivityState
  const channel = client.getChannel()
  let over = false
  let disarm: (() => void) | undefined

  const stop = (): void => {
    over = true
    disarm?.()
  }
  const finish = (connected: Connected): void => {
    stop()
    done(connected)
  }
  const look = (): void => {
    if (over) return

    const state = channel.getConnectivityState(true)
    if (state === READY) finish('ready')
    else if (state === TRANSIENT_FAILURE || state === SHUTDOWN) finish('failed')
    else {
      if (limit !== false) disarm ??= after(clock, limit, () => finish('timeout'))
      channel.watchConnectivityState(state, Number.POSITIVE_INFINITY, look)
    }
  }

  look()
  return stop
}
