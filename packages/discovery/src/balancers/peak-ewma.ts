import type { Balancer, BalancerFactory, Node, Sample } from '../balancer.js'
import { weightOf } from '../balancer.js'
import type { Clock } from '../clock.js'
import { checkDuration, wrongOption } from '../internal/options.js'
import { samplePair } from './sample-pair.js'

/*
 * Two endpoints are drawn at random and the cheaper one is picked, where
 *
 *   load = latency x (requests in flight + 1) / weight
 *
 * and latency is a moving average that jumps to a peak at once and forgets it over `decay` ("Peak EWMA", from Finagle).
 * Three things keep it honest:
 *
 * - A failure costs at least `penalty` however fast it was, so an endpoint that fails quickly does not look quick.
 * - An endpoint without history is probed by one request at a time: until its first answer, the others go elsewhere.
 * - An endpoint that keeps losing is tried again now and then, or it could never show that it recovered. This takes at
 *   most one pick in FORGOTTEN_PICKS, so that with little traffic a bad endpoint does not get a good share of it.
 */

/** The latency, ms, assumed of an endpoint while its first request is out: above any real one. */
const UNPROVEN = 1e12

/** An endpoint not picked for this many ms and picks wins the next draw it is in. */
const FORGOTTEN_AFTER = 3_000
const FORGOTTEN_PICKS = 20

/** The longest Retry-After, ms, that is believed. */
const LONGEST_RETRY_AFTER = 300_000

export interface PeakEwmaOptions {
  /** How long the average remembers, ms, more than 0: after this time a peak weighs 1/e. Default: 10_000. */
  readonly decay?: number | undefined
  /** What a failed request counts for at least, ms. Default: 5_000. */
  readonly penalty?: number | undefined
}

/**
 * The fastest, by latency and by requests in flight; the default. Latency is the time to the first byte, so long bodies and
 * event streams do not distort it. Failures count as slow answers, and so does a Retry-After.
 */
export function peakEwma(options: PeakEwmaOptions = {}): BalancerFactory {
  const decay = checkDuration('decay', options.decay ?? 10_000)
  if (decay === 0) throw wrongOption('decay', decay, 'more than 0 milliseconds')
  const penalty = checkDuration('penalty', options.penalty ?? 5_000)

  return function createPeakEwma({ random, clock }) {
    return new PeakEwma(decay, penalty, random, clock)
  }
}

/** What is known of one endpoint. Times are the clock's, ms. */
interface History {
  /** Whether any request has come back. */
  proven: boolean
  /** The average latency as it was at `stamp`. */
  cost: number
  stamp: number
  lastPick: number
  lastPickSerial: number
  /** Asked to be left alone until then. */
  heldUntil: number
}

class PeakEwma implements Balancer {
  readonly #histories = new WeakMap<Node, History>()
  readonly #decay: number
  readonly #penalty: number
  readonly #random: () => number
  readonly #clock: Clock
  #picks = 0

  constructor(decay: number, penalty: number, random: () => number, clock: Clock) {
    this.#decay = decay
    this.#penalty = penalty
    this.#random = random
    this.#clock = clock
  }

  pick(nodes: readonly Node[]): Node {
    const now = this.#clock.now()
    const [first, second] = samplePair(nodes, this.#random)
    const a = this.#historyOf(first, now)
    const b = this.#historyOf(second, now)

    const firstIsCheaper = this.#load(first, a, now) <= this.#load(second, b, now)
    const firstWins = this.#isForgotten(firstIsCheaper ? b : a, now) ? !firstIsCheaper : firstIsCheaper

    const winner = firstWins ? a : b
    winner.lastPick = now
    winner.lastPickSerial = ++this.#picks
    return firstWins ? first : second
  }

  settle(node: Node, { outcome, latency, retryAfter }: Sample): void {
    const now = this.#clock.now()
    const history = this.#historyOf(node, now)
    const average = this.#average(history, now)

    // The caller left before the answer: it would have taken at least this long, and nothing says how much longer.
    if (outcome === 'cancelled' && latency <= average) return

    const pause = Math.min(retryAfter, LONGEST_RETRY_AFTER)
    const cost = outcome === 'failure' ? Math.max(latency, this.#penalty, pause) : latency
    const memory = Math.exp(-(now - history.stamp) / this.#decay)

    history.cost = !history.proven || cost > average ? cost : cost + (history.cost - cost) * memory
    history.stamp = now
    history.heldUntil = now + pause
    history.proven = true
  }

  #load(node: Node, history: History, now: number): number {
    const latency = history.proven || node.inflight === 0 ? this.#average(history, now) : UNPROVEN
    return (latency * (node.inflight + 1)) / weightOf(node)
  }

  /** The average as it has faded since it was written. Reading does not change it. */
  #average(history: History, now: number): number {
    return history.cost * Math.exp(-(now - history.stamp) / this.#decay)
  }

  #isForgotten(history: History, now: number): boolean {
    return (
      history.proven &&
      now - history.lastPick > FORGOTTEN_AFTER &&
      this.#picks - history.lastPickSerial >= FORGOTTEN_PICKS &&
      now >= history.heldUntil
    )
  }

  #historyOf(node: Node, now: number): History {
    const known = this.#histories.get(node)
    if (known !== undefined) return known

    const history = {
      proven: false,
      cost: 0,
      stamp: now,
      lastPick: now,
      lastPickSerial: this.#picks,
      heldUntil: 0,
    }
    this.#histories.set(node, history)
    return history
  }
}
