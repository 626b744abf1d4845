/** What a bus tells its listeners. Durations are in ms. */
export interface BusEvents {
  /**
   * `up`: connected, for the first time or again. `down`: the broker is lost and being looked for; `error` says what
   * was heard of it last. `closed`: for good.
   */
  connection: { readonly state: 'up' | 'down' | 'closed'; readonly error?: unknown }
  /** The broker takes nothing for now (it is short of memory or disk), or takes messages again. Publishes wait. */
  blocked: { readonly blocked: boolean; readonly reason?: string | undefined }
  /** The broker has a message. */
  published: { readonly type: string; readonly id: string; readonly duration: number }
  /** The broker does not have a message, or was not heard to say so. */
  publishFailed: { readonly type: string; readonly id: string; readonly duration: number; readonly error: unknown }
  /** A handler finished and the message was acknowledged. */
  handled: {
    readonly group: string
    readonly type: string
    readonly id: string
    readonly attempt: number
    readonly duration: number
  }
  /**
   * An attempt failed after `duration` and another follows after `delay`; `attempt` is the one that failed. Also told, with
   * the broker's refusal as `error`, each time the broker takes neither the retry nor the dead letter.
   */
  retry: {
    readonly group: string
    readonly type: string
    readonly id: string
    readonly attempt: number
    readonly duration: number
    readonly delay: number
    readonly error: unknown
  }
  /** No further attempt follows the one that took `duration`. `kept` is false when the group has no dead letters, so that the message is gone. */
  deadLetter: {
    readonly group: string
    readonly type: string
    readonly id: string
    readonly attempt: number
    readonly duration: number
    readonly code: string
    readonly error: unknown
    readonly kept: boolean
  }
}

export type BusListener<E extends keyof BusEvents> = (event: BusEvents[E]) => void
