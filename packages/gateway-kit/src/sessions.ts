import { constants, type ServerHttp2Session } from 'node:http2'

/** How long a client may go on once it was told that its session ends, in milliseconds. */
const GRACE = 1_000

/** Pings and settings that one session may send within a second; each is answered. */
const MOST_SIGNALS = 1_000

export interface SessionLimits {
  /** Milliseconds until the first request. 0: no limit. */
  readonly headerTimeout: number
  /** Milliseconds without a request. 0: no limit. */
  readonly keepAliveTimeout: number
}

/**
 * Ends a session of HTTP/2 that asks for nothing. What counts is whether a request is under way, not whether bytes
 * arrive: a block of header fields that never comes to its end is no request, nor is a ping. nghttp2 itself bounds how
 * often requests may be reset and in how many pieces their header fields may come.
 */
export function watchSession(session: ServerHttp2Session, { headerTimeout, keepAliveTimeout }: SessionLimits): void {
  let streams = 0
  let begun = false
  let idleSince = performance.now()
  let timer = arm(headerTimeout)

  session.on('stream', (stream) => {
    streams += 1
    if (!begun) {
      begun = true
      clearTimeout(timer)
      timer = undefined
    }
    stream.once('close', () => {
      streams -= 1
      if (streams > 0) return

      idleSince = performance.now()
      if (session.closed) destroySoon()
      else timer ??= arm(keepAliveTimeout)
    })
  })
  session.once('close', () => clearTimeout(timer))
  boundSignals(session)

  function arm(ms: number): NodeJS.Timeout | undefined {
    return ms === 0 ? undefined : setTimeout(look, ms).unref()
  }

  function look(): void {
    timer = undefined
    if (streams > 0) return

    // One timer for many pauses: it looks, when it fires, at the time that is left by then.
    const left = begun ? idleSince + keepAliveTimeout - performance.now() : 0
    if (left > 0) {
      timer = arm(left)
      return
    }
    session.close()
    destroySoon()
  }

  /** A half block of header fields keeps a session open that was told to end. */
  function destroySoon(): void {
    setTimeout(() => {
      if (streams === 0) session.destroy()
    }, GRACE).unref()
  }
}

function boundSignals(session: ServerHttp2Session): void {
  let since = performance.now()
  let signals = 0

  function count(): void {
    const now = performance.now()
    if (now - since >= 1_000) {
      since = now
      signals = 0
    }
    signals += 1
    if (signals !== MOST_SIGNALS + 1) return

    session.goaway(constants.NGHTTP2_ENHANCE_YOUR_CALM)
    // Destroyed at once it would not say why.
    setImmediate(() => session.destroy(undefined, constants.NGHTTP2_ENHANCE_YOUR_CALM))
  }

  session.on('ping', count).on('remoteSettings', count)
}
