import type { MessagingError } from '../errors.js'
import type { WireMessage } from '../transport.js'

/** Something to publish. */
export interface Parcel {
  readonly exchange: string
  readonly key: string
  readonly message: WireMessage
  /** The key is the name of a queue, and not the type of the message. */
  readonly sent: boolean
  /** What to reject with when the broker finds no queue for it. Without it, that is fine. */
  readonly onReturned: ((parcel: Parcel) => MessagingError) | undefined
}

/** For messages: "publish 'order.created'". */
export function doingOf({ key, message, sent }: Omit<Parcel, 'exchange' | 'onReturned'>): string {
  return sent ? `send '${message.type}' to queue '${key}'` : `publish '${message.type}'`
}
