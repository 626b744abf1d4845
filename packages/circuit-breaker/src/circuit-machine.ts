import type { CircuitState, TransitionReason } from './events.js'
import { nextOpening, type OpenDuration, openFor, withHint } from './open-duration.js'
import type { Clock, Outcome } from './policy.js'
import type { CircuitSnapshot } from './snapshot.js'
import { type Judge, reasonToOpen } from './trip.js'

/**
 * The state machine of a circuit, without promises, timers or listeners.
 *
 *                 the trip rule says so                        the open duration is over, and a call comes
 *       closed ---------------------------> open ------------------------------------------> half-open
 *         ^                                  ^                                                |     |
 *         |                                  +------ enough successes are out of reach -------+     |
 *         +--------------------------------- enough successes --------------------------------------+
 *
 * `isolated` and `disabled` are set by hand and lie over these three.
 *
 * Nothing happens by itself: an open circuit turns half-open when a call comes and its time is over, not before.
 *
 * Each call that is let in gets a ticket. All calls of one closed period share a number that the next transition
 * invalidates; each trial has its own. A result whose ticket is no longer valid (its state is over, or the trial took too
 * long and lost its place) decides nothing, so a late result can neither open nor close a circuit.
 */
export class CircuitMachine {
  readonly judge: Judge
  readonly #settings: MachineSettings
  readonly #clock: Clock

  /** The state beneath what is set by hand. */
  #circuit: 'closed' | 'open' | 'half-open' = 'closed'
  #isolations = 0
  #disabled = false

  #lastTicket = 1
  /** What calls of the current closed period hold. */
  #closedTicket = 1
  #closedAt: number

  #openings = 0
  #openedAt = 0
  #openUntil = 0

  /** Running trials and when they began, oldest first. */
  #trials: Map<number, number> = NONE_YET
  #passed = 0
  #failed = 0

  constructor(settings: MachineSettings) {
    this.#settings = settings
    this.judge = settings.judge
    this.#clock = settings.clock
    this.#closedAt = settings.clock.now()
  }

  /** What the next call would meet. Reading it changes nothing. */
  get state(): CircuitState {
    const state = this.#stored()
    return state === 'open' && this.#clock.now() >= this.#openUntil ? 'half-open' : state
  }

  /** When the circuit last opened, on its clock; undefined while it is closed. */
  get openedAt(): number | undefined {
    return this.#circuit === 'closed' ? undefined : this.#openedAt
  }

  /** Milliseconds until a call may be let in. Only a human knows when it is isolated: the base open duration is a guess. */
  get retryAfter(): number {
    if (this.#isolations > 0) return this.#settings.openDuration.base
    if (this.#disabled || this.#circuit !== 'open') return 0
    return Math.max(0, this.#openUntil - this.#clock.now())
  }

  /** Lets a call in and gives it a ticket, or answers REFUSED. */
  admit(): number {
    if (this.#isolations > 0) return REFUSED
    if (this.#disabled) return UNCOUNTED
    if (this.#circuit === 'closed') return this.#closedTicket

    return this.#admitTrial(this.#clock.now())
  }

  /** Takes the result of a call. `outcome` is for the server's hint, and may be left out when nobody asks for one. */
  settle(ticket: number, verdict: 'success' | 'failure' | 'ignore', slow: boolean, outcome: Outcome | undefined): void {
    if (ticket === this.#closedTicket) {
      if (verdict !== 'ignore') this.#record(verdict === 'failure', slow, outcome)
    } else if (this.#trials.delete(ticket)) {
      if (verdict !== 'ignore') this.#decide(verdict === 'failure' || (slow && this.judge.slowRate <= 1), outcome)
    }
  }

  isolate(): () => void {
    this.#transition('isolated', () => this.#isolations++)

    let held = true
    return () => {
      if (!held) return
      held = false
      this.#transition('released', () => this.#isolations--)
    }
  }

  disable(): void {
    this.#transition('disabled', () => {
      this.#disabled = true
      this.#close()
    })
  }

  enable(): void {
    if (!this.#disabled) return
    this.#transition('enabled', () => {
      this.#disabled = false
      this.#close()
    })
  }

  reset(): void {
    this.#transition('reset', () => {
      this.#openings = 0
      this.#close()
    })
  }

  /** What outlives the process, with the times of the wall. */
  save(): Omit<CircuitSnapshot, 'version' | 'name'> {
    const takenAt = Date.now()
    const now = this.#clock.now()
    const times = this.#circuit !== 'closed' && {
      openedAt: Math.round(takenAt - now + this.#openedAt),
      openUntil: Math.round(takenAt + Math.max(0, this.#openUntil - now)),
    }
    return { state: this.state, takenAt, openings: this.#openings, ...times, window: this.judge.window.save() }
  }

  /**
   * Takes over what another machine saved. Whoever stored it may have another idea of the time: a snapshot from the future
   * counts as taken now, so that a wrong clock never keeps a circuit open for longer than it had left. An isolation is not
   * taken over: nobody could lift it.
   */
  restore({ state, takenAt, openings, openedAt = takenAt, openUntil, window }: CircuitSnapshot): void {
    const elapsed = Math.max(0, Date.now() - takenAt)
    this.judge.window.restore(window, elapsed)
    this.#disabled = state === 'disabled'
    this.#openings = openings
    if (openUntil === undefined) return

    const now = this.#clock.now()
    this.#circuit = 'open'
    this.#openedAt = now - elapsed - Math.max(0, takenAt - openedAt)
    this.#openUntil = now + Math.max(0, openUntil - takenAt - elapsed)
    this.#closedTicket = ++this.#lastTicket
  }

  #stored(): CircuitState {
    if (this.#isolations > 0) return 'isolated'
    return this.#disabled ? 'disabled' : this.#circuit
  }

  #admitTrial(now: number): number {
    if (this.#circuit === 'open') {
      if (now < this.#openUntil) return REFUSED
      this.#transition('open-elapsed', () => this.#beginTrials())
      // A listener may have changed the state again.
      return this.admit()
    }

    const { trials, trialTimeout } = this.#settings
    if (this.#trials.size + this.#passed + this.#failed >= trials && !this.#forfeitOldest(now - trialTimeout))
      return REFUSED

    const ticket = ++this.#lastTicket
    this.#trials.set(ticket, now)
    return ticket
  }

  /** Takes the place of the oldest trial if it began at `limit` or before: a call that hangs must not block the circuit. */
  #forfeitOldest(limit: number): boolean {
    for (const [ticket, began] of this.#trials) {
      return began <= limit && this.#trials.delete(ticket)
    }
    return false
  }

  #record(failed: boolean, slow: boolean, outcome: Outcome | undefined): void {
    this.judge.window.record(failed, slow)

    const reason = reasonToOpen(this.judge)
    if (reason !== undefined) this.#open(reason, outcome)
  }

  #decide(failed: boolean, outcome: Outcome | undefined): void {
    const { trials, successes } = this.#settings
    if (failed) this.#failed++
    else this.#passed++

    if (this.#passed >= successes) this.#transition('trials-passed', () => this.#close())
    else if (this.#failed > trials - successes) this.#open('trials-failed', outcome)
  }

  #open(reason: TransitionReason, outcome: Outcome | undefined): void {
    const { openDuration, random, retryAfter } = this.#settings
    let hint: number | undefined
    try {
      if (outcome !== undefined) hint = retryAfter?.(outcome)
    } finally {
      // Also when the callback throws: its error reaches the caller, and the circuit opens all the same.
      const now = this.#clock.now()
      const closedFor = this.#circuit === 'closed' ? now - this.#closedAt : 0

      this.#transition(reason, () => {
        this.#circuit = 'open'
        this.#openings = nextOpening(openDuration, this.#openings, closedFor)
        this.#openedAt = now
        this.#openUntil = now + withHint(openFor(openDuration, this.#openings, random), hint)
      })
    }
  }

  #beginTrials(): void {
    this.#circuit = 'half-open'
    this.#trials = new Map()
    this.#passed = 0
    this.#failed = 0
  }

  #close(): void {
    this.#circuit = 'closed'
    this.#closedAt = this.#clock.now()
    this.judge.window.clear()
  }

  /** Every change of state goes through here: whatever runs now no longer counts. */
  #transition(reason: TransitionReason, change: () => void): void {
    const from = this.#stored()
    change()
    const to = this.#stored()

    this.#closedTicket = ++this.#lastTicket
    this.#trials = NONE_YET
    // Trials interrupted by hand begin anew.
    if (this.#circuit === 'half-open') this.#beginTrials()
    if (from !== to) this.#settings.onTransition(from, to, reason)
  }
}

/** Most circuits never had a trial; an empty map each would be a tenth of what they weigh. Nothing is ever put into it. */
const NONE_YET: Map<number, number> = new Map()

/** The answer to a call that is not let in. */
export const REFUSED = -1

/** The ticket of a call that is let in without being looked at. */
const UNCOUNTED = 0

export interface MachineSettings {
  readonly judge: Judge
  readonly openDuration: OpenDuration
  readonly trials: number
  readonly successes: number
  readonly trialTimeout: number
  readonly clock: Clock
  readonly random: () => number
  readonly retryAfter: ((outcome: Outcome) => number | undefined) | undefined
  readonly onTransition: (from: CircuitState, to: CircuitState, reason: TransitionReason) => void
}
