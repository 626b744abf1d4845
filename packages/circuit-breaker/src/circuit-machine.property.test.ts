import * as fc from 'fast-check'
import { expect, it } from 'vitest'
import type { Permit } from './circuit-breaker.js'
import { circuitBreaker } from './circuit-breaker.js'
import { VirtualClock } from './test-support.js'
import type { TripRule } from './trip.js'

const OPEN_DURATION = 100
const TRIAL_TIMEOUT = 70
const SLOW_CALL = 40

/** What the model believes the circuit is in. A call counts when its period is still the present one. */
type Period =
  | { readonly kind: 'closed'; readonly results: Result[] }
  | { readonly kind: 'open'; readonly until: number }
  | { readonly kind: 'half-open'; running: Call[]; passed: number; failed: number }

interface Result {
  readonly at: number
  readonly failed: boolean
  readonly slow: boolean
}

interface Call {
  readonly period: Period | undefined
  readonly began: number
}

interface Rules {
  readonly trip: TripRule
  readonly trials: number
  readonly successes: number
}

/** The same behaviour in the plainest words: lists and filters, no counters, no rings, no tickets. */
class Model {
  period: Period = { kind: 'closed', results: [] }
  holds = 0
  disabled = false
  readonly #rules: Rules
  readonly #clock: VirtualClock

  constructor(rules: Rules, clock: VirtualClock) {
    this.#rules = rules
    this.#clock = clock
  }

  get state(): string {
    if (this.holds > 0) return 'isolated'
    if (this.disabled) return 'disabled'
    if (this.period.kind === 'open' && this.#clock.now() >= this.period.until) return 'half-open'
    return this.period.kind
  }

  admit(): Call | undefined {
    const began = this.#clock.now()
    if (this.holds > 0) return undefined
    if (this.disabled) return { period: undefined, began }

    if (this.period.kind === 'open') {
      if (began < this.period.until) return undefined
      this.period = { kind: 'half-open', running: [], passed: 0, failed: 0 }
    }
    const call = { period: this.period, began }
    if (this.period.kind === 'closed') return call

    const { running, passed, failed } = this.period
    if (running.length + passed + failed >= this.#rules.trials) {
      const [oldest] = running
      if (oldest === undefined || began - oldest.began < TRIAL_TIMEOUT) return undefined
      running.shift()
    }
    running.push(call)
    return call
  }

  settle(call: Call, verdict: 'succeed' | 'fail' | 'ignore'): void {
    const { period } = call
    if (period !== this.period) return

    const slow = this.#clock.now() - call.began >= SLOW_CALL
    const failed = verdict === 'fail'
    if (period.kind === 'closed' && verdict !== 'ignore') {
      period.results.push({ at: this.#clock.now(), failed, slow })
      if (this.#trips()) this.open()
    }
    if (period.kind === 'half-open' && period.running.includes(call)) {
      period.running = period.running.filter((other) => other !== call)
      if (verdict === 'ignore') return

      const bad = failed || (slow && 'slowRate' in this.#rules.trip)
      if (bad) period.failed++
      else period.passed++
      if (period.passed >= this.#rules.successes) this.close()
      else if (this.#rules.trials - period.failed < this.#rules.successes) this.open()
    }
  }

  open(): void {
    this.period = { kind: 'open', until: this.#clock.now() + OPEN_DURATION }
  }

  close(): void {
    this.period = { kind: 'closed', results: [] }
  }

  /** A human's hand makes the present period a new one, with the same contents. */
  interrupt(): void {
    const { period } = this
    this.period = period.kind === 'half-open' ? { kind: 'half-open', running: [], passed: 0, failed: 0 } : { ...period }
  }

  /** The results in the window; only meaningful while closed. */
  remembered(): Result[] {
    if (this.period.kind !== 'closed') return []
    const { results } = this.period
    const { trip } = this.#rules
    if ('failures' in trip) return results.slice(-trip.failures)
    if ('calls' in trip.window) return results.slice(-trip.window.calls)

    const width = trip.window.duration / (trip.window.buckets ?? 10)
    const bucketOf = (at: number) => Math.floor(at / width)
    return results.filter(
      ({ at }) => bucketOf(at) > bucketOf(this.#clock.now()) - (trip as { window: { buckets: number } }).window.buckets,
    )
  }

  #trips(): boolean {
    const { trip } = this.#rules
    const window = this.remembered()
    const failures = window.filter((result) => result.failed).length
    if ('failures' in trip) return failures === trip.failures

    if (window.length < (trip.minimumCalls ?? 20)) return false
    const slow = window.filter((result) => result.slow).length
    if (failures > 0 && failures / window.length >= (trip.failureRate ?? 0.5)) return true
    return trip.slowRate !== undefined && slow > 0 && slow / window.length >= trip.slowRate
  }
}

const rate = fc.constantFrom(0, 0.25, 0.3, 0.5, 0.75, 1)
const minimumCalls = fc.integer({ min: 1, max: 5 })
const trip: fc.Arbitrary<TripRule> = fc.oneof(
  fc.record({ failures: fc.integer({ min: 1, max: 4 }) }),
  fc.record({
    failureRate: rate,
    minimumCalls,
    window: fc.record({ calls: fc.integer({ min: 5, max: 8 }) }),
  }),
  fc.record({
    failureRate: rate,
    slowRate: rate,
    minimumCalls,
    window: fc.record({ duration: fc.integer({ min: 20, max: 300 }), buckets: fc.integer({ min: 1, max: 5 }) }),
  }),
)
const rules: fc.Arbitrary<Rules> = fc
  .tuple(trip, fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 3 }))
  .map(([trip, trials, successes]) => ({ trip, trials, successes: Math.min(trials, successes) }))

type Step =
  | { readonly do: 'admit' }
  | { readonly do: 'settle'; readonly which: number; readonly verdict: 'succeed' | 'fail' | 'ignore' }
  | { readonly do: 'advance'; readonly ms: number }
  | { readonly do: 'isolate' | 'release' | 'disable' | 'enable' | 'reset' }

// Mostly failures, and times at the very edges: else the walk hardly ever gets past closed.
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 20, arbitrary: fc.constant<Step>({ do: 'admit' }) },
  {
    weight: 18,
    arbitrary: fc.record({
      do: fc.constant('settle' as const),
      which: fc.nat(3),
      verdict: fc.constantFrom('succeed' as const, 'fail' as const, 'fail' as const, 'ignore' as const),
    }),
  },
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant('advance' as const),
      ms: fc.constantFrom(1, SLOW_CALL, TRIAL_TIMEOUT, OPEN_DURATION, OPEN_DURATION - 1),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('isolate', 'release', 'disable', 'enable', 'reset') }) },
  { weight: 1, arbitrary: fc.constantFrom<Step>({ do: 'release' }, { do: 'enable' }) },
)

it(
  'does what the plain model does, step by step',
  () =>
    fc.assert(
      fc.property(rules, fc.array(step, { minLength: 80, maxLength: 200 }), (rules, steps) => {
        const clock = new VirtualClock(1_000)
        const model = new Model(rules, clock)
        const breaker = circuitBreaker({
          trip: rules.trip,
          openDuration: OPEN_DURATION,
          halfOpen: { trials: rules.trials, successes: rules.successes, trialTimeout: TRIAL_TIMEOUT },
          slowCall: SLOW_CALL,
          clock,
        })
        const running: { readonly permit: Permit; readonly call: Call }[] = []
        const holds: { release(): void }[] = []

        const perform: { [K in Step['do']]: (step: Extract<Step, { do: K }>) => void } = {
          admit() {
            const permit = breaker.tryAcquire()
            const call = model.admit()
            expect(permit !== undefined).toBe(call !== undefined)
            if (permit !== undefined && call !== undefined) running.push({ permit, call })
          },
          settle({ which, verdict }) {
            const [entry] = running.splice(which % Math.max(1, running.length), 1)
            if (entry === undefined) return
            entry.permit[verdict]()
            model.settle(entry.call, verdict)
          },
          advance: ({ ms }) => clock.advance(ms),
          isolate() {
            holds.push(breaker.isolate())
            model.holds++
            model.interrupt()
          },
          release() {
            const hold = holds.pop()
            if (hold === undefined) return
            hold.release()
            hold.release()
            model.holds--
            model.interrupt()
          },
          disable() {
            breaker.disable()
            model.disabled = true
            model.close()
          },
          enable() {
            breaker.enable()
            if (model.disabled) model.close()
            model.disabled = false
          },
          reset() {
            breaker.reset()
            model.close()
          },
        }

        for (const step of steps) {
          perform[step.do](step as never)

          expect(breaker.state).toBe(model.state)
          expect(breaker.metrics.inFlight).toBe(running.length)
          if (model.period.kind === 'closed') {
            const window = model.remembered()
            expect(breaker.metrics).toMatchObject({
              calls: window.length,
              failures: window.filter(({ failed }) => failed).length,
              slow: window.filter(({ slow }) => slow).length,
            })
          }
          if (model.state === 'open' && model.period.kind === 'open') {
            expect(breaker.metrics.retryAfter).toBe(model.period.until - clock.now())
          }
        }
      }),
      { numRuns: 300 },
    ),
  30_000,
)
