import { hasMethods } from './has-methods.js'

/** A body nobody wants is read up to here, so that its connection can be used again; above it, the connection goes. */
export const MAX_BYTES: number = 64 * 1024
/** And for so long, in milliseconds. */
export const MAX_TIME: number = 1_000

/**
 * Lets go of a response that nobody will read. An unread body holds its connection until garbage collection.
 * Does nothing for what has no body, or one that somebody reads.
 */
export function discardBody(response: unknown): void {
  const { body } = Object(response) as { body?: unknown }
  if (hasMethods<WebStream>(body, 'getReader')) {
    if (!body.locked) void drain(body.getReader())
  } else if (hasMethods<NodeStream>(body, 'on', 'resume')) {
    body.on('error', ignore)
    body.resume()
  }
}

async function drain(reader: Reader): Promise<void> {
  const timer: unknown = setTimeout(() => void reader.cancel().catch(ignore), MAX_TIME)
  // Outside Node a timer is a number.
  if (hasMethods<{ unref(): void }>(timer, 'unref')) timer.unref()

  try {
    let bytes = 0
    while (bytes <= MAX_BYTES) {
      const chunk = await reader.read()
      if (chunk.done) return
      bytes += chunk.value.byteLength
    }
    await reader.cancel()
  } catch {
    // It failed while it was thrown away: it is gone, which is all we wanted.
  } finally {
    clearTimeout(timer as never)
  }
}

interface Reader {
  read(): Promise<{ done: true } | { done: false; value: Uint8Array }>
  cancel(): Promise<void>
}

interface WebStream {
  readonly locked: boolean
  getReader(): Reader
}

interface NodeStream {
  on(event: 'error', listener: () => void): void
  resume(): void
}

function ignore(): void {}
