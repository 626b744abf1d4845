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
    readAway(body)
  }
}

function readAway(body: NodeStream): void {
  let bytes = 0
  const cut = () => {
    stop()
    body.destroy?.()
  }
  const stop = cutLater(cut)

  body.on('error', stop)
  body.on('close', stop)
  body.on('end', stop)
  body.on('data', (chunk) => {
    bytes += chunk?.length ?? 0
    if (bytes > MAX_BYTES) cut()
  })
  body.resume()
}

/** Runs `cut` after {@link MAX_TIME}, unless what is returned is called before. */
function cutLater(cut: () => void): () => void {
  const timer: unknown = setTimeout(cut, MAX_TIME)
  // Outside Node a timer is a number.
  if (hasMethods<{ unref(): void }>(timer, 'unref')) timer.unref()

  return () => clearTimeout(timer as never)
}

async function drain(reader: Reader): Promise<void> {
  const stop = cutLater(() => void reader.cancel().catch(ignore))

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
    stop()
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
  on(event: 'error' | 'close' | 'end' | 'data', listener: (chunk?: { readonly length?: number }) => void): void
  resume(): void
  destroy?(): void
}

function ignore(): void {}
