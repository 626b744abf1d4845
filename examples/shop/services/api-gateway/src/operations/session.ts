import { createHmac } from 'node:crypto'
import { isSame } from '@shop/platform'

/** What a browser shows after it came by the link. */
export interface Sessions {
  open(): string
  isOpen(session: string): boolean
}

/** Milliseconds: a week. */
export const sessionLength = 7 * 24 * 3_600_000

/**
 * A session is the time of its end, signed with the token of the operations. So nothing has to be kept, and it outlives
 * the gateway that opened it; it ends with the token, or a week after it was opened.
 */
export function createSessions(token: string, now: () => number = Date.now): Sessions {
  const sign = (end: string) => createHmac('sha256', token).update(`operations session ${end}`).digest('base64url')

  return {
    open() {
      const end = String(now() + sessionLength)
      return `${end}.${sign(end)}`
    },

    isOpen(session) {
      const [end = '', signature = ''] = session.split('.')
      return isSame(signature, sign(end)) && Number(end) > now()
    },
  }
}
