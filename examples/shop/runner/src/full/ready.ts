import { setTimeout as sleep } from 'node:timers/promises'

/** Between two questions, in milliseconds. */
const interval = 100

/**
 * Asks `/health/ready` until it answers 200. The address is asked for each time, since a process that was started again
 * has another. Rejects with the signal's reason.
 */
export async function untilReady(address: () => string | undefined, signal: AbortSignal): Promise<void> {
  for (;;) {
    const http = address()
    if (http !== undefined && (await isReady(http, signal))) return
    await sleep(interval, undefined, { signal }).catch(() => signal.throwIfAborted())
  }
}

async function isReady(http: string, signal: AbortSignal): Promise<boolean> {
  try {
    const response = await fetch(`${http}/health/ready`, { signal })
    await response.body?.cancel()
    return response.status === 200
  } catch {
    signal.throwIfAborted()
    return false
  }
}
