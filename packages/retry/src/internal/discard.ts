import { isolated } from './emitter.js'
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
    if (!body.locked) isolated(drain, body.getReader())
  } else if (hasMethods<NodeStream>(body, 'destroy', Symbol.asyncIterator)) {
    const chunks = body[Symbol.asyncIterator]()
    isolated(drain, { read: () => chunks.next(), cancel: () => body.destroy() })
  }
}

/** What fails while it is thrown away is gone, which is all we wanted. */
async function drain(reader: Reader): Promise<void> {
  const cut = () => isolated(() => reader.cancel(), undefined)
  const timer: { unref?(): void } = setTimeout(cut, MAX_TIME)
  // Outside Node a timer is a number.
  timer.unref?.()

  try {
    for (let bytes = 0; bytes <= MAX_BYTES; ) {
      const chunk = await reader.read()
      if (chunk.done) return
      bytes += chunk.value.length
    }
    cut()
  } finally {
    clearTimeout(timer as never)
  }
}

interface Reader {
  read(): Promise<{ done: true } | { done?: false; value: { readonly length: number } }>
  cancel(): unknown
}

interface WebStream {
  readonly locked: boolean
  getReader(): Reader
}

interface NodeStream extends AsyncIterable<{ readonly length: number }> {
  destroy(): void
}
