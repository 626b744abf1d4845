import type { Clock } from '../clock.js'
import { Emitter } from '../internal/emitter.js'

/** The events of a limiter whose quotas are in Redis. */
export interface RedisLimiterEvents {
  /** Redis did not answer within the deadline, or refused: from now on `onError` decides. Told once, until `back`. */
  readonly away: { readonly reason: 'deadline' } | { readonly reason: 'error'; readonly error: unknown }
  /** Redis decides again; it was away for so many milliseconds. */
  readonly back: { readonly after: number }
}

/** One question to the server. Exactly one of `answered` and `failed` ends it, be it after the deadline. */
export interface Question {
  readonly overdue: boolean
  missedDeadline(): void
  answered(): void
  failed(error: unknown): void
}

/** While the server is silent, this is how often it is asked again, in milliseconds. */
export const PROBE_EVERY = 1_000

/**
 * Whether a server is worth asking. Errors come at once and cost nothing, so after one the server is asked as before.
 * Silence costs every question its whole deadline: while an overdue question is unanswered, only one per second is
 * added to it. Any answer, also a late one, ends that.
 */
export class Reachability {
  readonly events: Emitter<RedisLimiterEvents> = new Emitter()
  readonly #clock: Clock
  #overdue = 0
  /** Grows with each answer; what was overdue before it does not count any longer, should it never end. */
  #answers = 0
  #lastAsked = Number.NEGATIVE_INFINITY
  #awaySince: number | undefined

  constructor(clock: Clock) {
    this.#clock = clock
  }

  get worthAsking(): boolean {
    return this.#overdue === 0 || this.#clock.now() - this.#lastAsked >= PROBE_EVERY
  }

  ask(): Question {
    this.#lastAsked = this.#clock.now()
    let missedAt: number | undefined

    return {
      get overdue() {
        return missedAt !== undefined
      },
      missedDeadline: () => {
        missedAt = this.#answers
        this.#overdue += 1
        this.#away({ reason: 'deadline' })
      },
      answered: () => {
        this.#answers += 1
        this.#overdue = 0
        this.#back()
      },
      failed: (error) => {
        if (missedAt === this.#answers) this.#overdue -= 1
        if (missedAt === undefined) this.#away({ reason: 'error', error })
      },
    }
  }

  #away(event: RedisLimiterEvents['away']): void {
    if (this.#awaySince !== undefined) return

    this.#awaySince = this.#clock.now()
    this.events.emit('away', event)
  }

  #back(): void {
    if (this.#awaySince === undefined) return

    const after = this.#clock.now() - this.#awaySince
    this.#awaySince = undefined
    this.events.emit('back', { after })
  }
}
