/** What everything of one topic exchange is called on the broker. */
export interface Names {
  /** The topic exchange of all events. */
  readonly events: string
  /** Direct exchange at the end of a retry's wait: each queue is bound with its own name. */
  readonly retry: string
  /** Fanout exchange at the end of a delayed publish's wait, in front of the events. */
  readonly delay: string
  /** Exchange and queue for retries that come out of their wait when their queue is no more. */
  readonly unclaimed: string
  /** Exchange and queue that keep nothing. */
  readonly nowhere: string
  /** Exchange and queue of one level. */
  wait(kind: WaitKind, ms: number): string
  isWait(queue: string): boolean
}

export type WaitKind = 'retry' | 'delay'

export function namesOf(exchange: string): Names {
  const retry = `${exchange}.retry`
  const delay = `${exchange}.delay`

  return {
    events: exchange,
    retry,
    delay,
    unclaimed: `${exchange}.unclaimed`,
    nowhere: `${exchange}.nowhere`,
    wait: (kind, ms) => `${kind === 'retry' ? retry : delay}.${ms}`,
    isWait: (queue) => queue.startsWith(`${retry}.`) || queue.startsWith(`${delay}.`),
  }
}
