import type { Balancer, BalancerFactory, Node, PickOptions, Sample } from '../balancer.js'
import { weightOf } from '../balancer.js'
import type { Clock } from '../clock.js'
import { checkDuration, wrongOption } from '../internal/options.js'
import { firstIndex, secondIndex } from './sample-pair.js'

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

/** An endpoint not picked for this many ms and picks wins the next draw it is in. */
const FORGOTTEN_AFTER = 3_000
const FORGOTTEN_PICKS = 20

/** Beyond so many decays an average is nothing beside another; e to this power is still a number. */
const LONGEST_LEAD = 700

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

/** What is known of one endpoint, kept with its node. Times are the clock's, ms. */
class History {
  readonly owner: Balancer
  /** Whether any request has come back. */
  proven = false
  /** The average latency as it was at `stamp`. */
  cost = 0
  stamp: number
  lastPick: number
  lastPickSerial: number
  /** Asked to be left alone until then. */
  heldUntil = Number.NEGATIVE_INFINITY

  constructor(owner: Balancer, now: number, serial: number) {
    this.owner = owner
    this.stamp = now
    this.lastPick = now
    this.lastPickSerial = serial
  }
}

class PeakEwma implements Balancer {
  /** Of forgetting, per ms. */
  readonly #rate: number
  readonly #penalty: number
  readonly #random: () => number
  readonly #clock: Clock
  #picks = 0

  constructor(decay: number, penalty: number, random: () => number, clock: Clock) {
    this.#rate = 1 / decay
    this.#penalty = penalty
    this.#random = random
    this.#clock = clock
  }

  pick(nodes: readonly Node[], _: PickOptions, now = this.#clock.now()): Node {
    const draw = this.#random() * nodes.length
    const first = nodes[firstIndex(draw)]! // random() is below 1
    const second = nodes[secondIndex(draw, nodes.length)]!
    const a = this.#historyOf(first, now)
    const b = this.#historyOf(second, now)

    const firstIsCheaper = this.#isCheaper(first, a, second, b)
    const firstWins = this.#isForgotten(firstIsCheaper ? b : a, now) ? !firstIsCheaper : firstIsCheaper

    const winner = firstWins ? a : b
    winner.lastPick = now
    winner.lastPickSerial = ++this.#picks
    return firstWins ? first : second
  }

  settle(node: Node, { outcome, latency, retryAfter }: Sample, now = this.#clock.now()): void {
    const history = this.#historyOf(node, now)
    const memory = exp((history.stamp - now) * this.#rate)
    const average = history.cost * memory

    // The caller left before the answer: it would have taken at least this long, and nothing says how much longer.
    if (outcome === 'cancelled' && latency <= average) return

    const pause = Math.min(retryAfter, LONGEST_RETRY_AFTER)
    const cost = outcome === 'failure' ? Math.max(latency, this.#penalty, pause) : latency

    history.cost = !history.proven || cost > average ? cost : cost + (history.cost - cost) * memory
    history.stamp = now
    history.heldUntil = now + pause
    history.proven = true
  }

  /**
   * Whether the first load is not above the second. An average fades from the moment it is written, so of two the older one
   * has faded more: by how much is all that matters, and what time it is now does not.
   */
  #isCheaper(first: Node, a: History, second: Node, b: History): boolean {
    const firstShare = (first.inflight + 1) * weightOf(second)
    const secondShare = (second.inflight + 1) * weightOf(first)
    const firstIsOut = !a.proven && first.inflight > 0
    const secondIsOut = !b.proven && second.inflight > 0

    if (firstIsOut || secondIsOut) return secondIsOut && (!firstIsOut || firstShare <= secondShare)

    const lead = Math.min((a.stamp - b.stamp) * this.#rate, LONGEST_LEAD)
    return a.cost * firstShare * exp(lead) <= b.cost * secondShare
  }

  #isForgotten(history: History, now: number): boolean {
    return (
      now - history.lastPick > FORGOTTEN_AFTER &&
      history.proven &&
      this.#picks - history.lastPickSerial >= FORGOTTEN_PICKS &&
      now >= history.heldUntil
    )
  }

  #historyOf(node: Node, now: number): History {
    const known = node.notes as History | undefined
    return known?.owner === this ? known : this.#begin(node, now)
  }

  #begin(node: Node, now: number): History {
    const history = new History(this, now, this.#picks)
    node.notes = history
    return history
  }
}

/** e^x. Near 0, where x is while requests follow each other closely, three terms are exact to nine digits, and quicker. */
function exp(x: number): number {
  return x * x < 1e-6 ? 1 + x + x * x * 0.5 : Math.exp(x)
}
