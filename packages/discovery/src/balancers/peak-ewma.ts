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

/*
 * What is known of an endpoint is a row of numbers in an array; times are the clock's, ms. Those of a list that is picked from
 * again and again lie side by side: objects here and there in memory, with one more for each number as V8 has it, make a pick
 * among a thousand endpoints wait for the processor's cache more than it computes.
 */

/** The average latency as it was at STAMP; negative until a request has come back. */
const COST = 0
const STAMP = 1
const LAST_PICK = 2
/** The number of that pick. */
const SERIAL = 3
/** Asked to be left alone until then. */
const HELD_UNTIL = 4
/** More than there are columns: a line of the processor's cache each. */
const ROW = 8

const UNPROVEN = -1

/** A list needs at least so many picks to have its rows laid out. Those made for a single retry never do. */
const SETTLED_AFTER = 10

/** Where the row of a node is. */
interface Place {
  readonly rows: Float64Array
  readonly at: number
}

class PeakEwma implements Balancer {
  /** Of forgetting, per ms. */
  readonly #rate: number
  readonly #penalty: number
  readonly #random: () => number
  readonly #clock: Clock
  #picks = 0
  /** The list whose rows are `#rows`, in its order. The notes of these nodes are their indices. */
  #settled: readonly Node[] = []
  #rows: Float64Array = new Float64Array(0)
  /** Another list, and how many picks were from it. */
  #newcomer: readonly Node[] | undefined
  #newcomerPicks = 0
  /** Of all nodes, for when they are in no list that is laid out or another balancer has written its notes. */
  readonly #places = new WeakMap<Node, Place>()

  constructor(decay: number, penalty: number, random: () => number, clock: Clock) {
    this.#rate = 1 / decay
    this.#penalty = penalty
    this.#random = random
    this.#clock = clock
  }

  pick(nodes: readonly Node[], _: PickOptions, now = this.#clock.now()): Node {
    const draw = this.#random() * nodes.length
    const i = firstIndex(draw)
    const j = secondIndex(draw, nodes.length)
    const first = nodes[i]! // random() is below 1
    const second = nodes[j]!

    let p = this.#rows
    let q = p
    let a = i * ROW
    let b = j * ROW
    if (nodes !== this.#settled) {
      this.#welcome(nodes, now)
      ;({ rows: p, at: a } = this.#placeOf(first, now))
      ;({ rows: q, at: b } = this.#placeOf(second, now))
    }

    const firstIsCheaper = this.#isCheaper(first, p, a, second, q, b)
    const loser = firstIsCheaper ? second : first
    const unpicked = now - (firstIsCheaper ? q[b + LAST_PICK]! : p[a + LAST_PICK]!)
    const firstWins = firstIsCheaper !== (unpicked > FORGOTTEN_AFTER && this.#isForgotten(loser, now))

    const rows = firstWins ? p : q
    const winner = firstWins ? a : b
    rows[winner + LAST_PICK] = now
    rows[winner + SERIAL] = ++this.#picks
    return firstWins ? first : second
  }

  settle(node: Node, { outcome, latency, retryAfter }: Sample, now = this.#clock.now()): void {
    const { rows, at } = this.#placeOf(node, now)
    const known = rows[at + COST]!
    const memory = exp((rows[at + STAMP]! - now) * this.#rate)
    const average = Math.max(known, 0) * memory

    // The caller left before the answer: it would have taken at least this long, and nothing says how much longer.
    if (outcome === 'cancelled' && latency <= average) return

    const pause = Math.min(retryAfter, LONGEST_RETRY_AFTER)
    const cost = outcome === 'failure' ? Math.max(latency, this.#penalty, pause) : Math.max(latency, 0)

    rows[at + COST] = known < 0 || cost > average ? cost : cost + (known - cost) * memory
    rows[at + STAMP] = now
    rows[at + HELD_UNTIL] = now + pause
  }

  /**
   * Whether the first load is not above the second. An average fades from the moment it is written, so of two the older one
   * has faded more: by how much is all that matters, and what time it is now does not.
   */
  #isCheaper(first: Node, p: Float64Array, a: number, second: Node, q: Float64Array, b: number): boolean {
    const firstCost = p[a + COST]!
    const secondCost = q[b + COST]!
    if (firstCost < 0 || secondCost < 0) return this.#isUnprovenCheaper(first, firstCost, second, secondCost)

    const lead = Math.min((p[a + STAMP]! - q[b + STAMP]!) * this.#rate, LONGEST_LEAD)
    return firstCost * share(first, second) * exp(lead) <= secondCost * share(second, first)
  }

  /** The same where one of them, or both, have never answered. Apart, because V8 inlines only so much. */
  #isUnprovenCheaper(first: Node, firstCost: number, second: Node, secondCost: number): boolean {
    const firstIsOut = firstCost < 0 && first.inflight > 0
    const secondIsOut = secondCost < 0 && second.inflight > 0
    if (firstIsOut && secondIsOut) return share(first, second) <= share(second, first)
    if (firstIsOut || secondIsOut) return secondIsOut

    // Until it is tried, it costs nothing.
    return firstCost <= 0
  }

  /** Whether one that was not picked for so long is to be tried again. */
  #isForgotten(node: Node, now: number): boolean {
    const { rows, at } = this.#placeOf(node, now)

    return rows[at + COST]! >= 0 && this.#picks - rows[at + SERIAL]! >= FORGOTTEN_PICKS && now >= rows[at + HELD_UNTIL]!
  }

  /** Counts the picks from a list: once they are as many as its nodes, laying out their rows is worth the work. */
  #welcome(nodes: readonly Node[], now: number): void {
    if (nodes !== this.#newcomer) {
      this.#newcomer = nodes
      this.#newcomerPicks = 0
    }
    if (++this.#newcomerPicks >= Math.max(nodes.length, SETTLED_AFTER)) this.#layOut(nodes, now)
  }

  #layOut(nodes: readonly Node[], now: number): void {
    const before = { list: this.#settled, rows: this.#rows }
    const rows = new Float64Array(nodes.length * ROW)
    for (const [index, node] of nodes.entries()) this.#move(node, rows, index * ROW, now)
    // Whoever has left keeps a row, not those of all.
    for (const node of before.list) {
      if (this.#places.get(node)?.rows === before.rows) this.#move(node, new Float64Array(ROW), 0, now)
    }

    for (const [index, node] of nodes.entries()) node.notes = index
    this.#rows = rows
    this.#settled = nodes
    this.#newcomer = undefined
  }

  #move(node: Node, rows: Float64Array, at: number, now: number): void {
    const from = this.#places.get(node) ?? this.#begin(node, now)
    rows.set(from.rows.subarray(from.at, from.at + ROW), at)
    this.#places.set(node, { rows, at })
  }

  #placeOf(node: Node, now: number): Place {
    const index = node.notes
    // Another kind of key would make the access slow for good.
    if (typeof index === 'number' && index < this.#settled.length && this.#settled[index] === node) {
      return { rows: this.#rows, at: index * ROW }
    }
    return this.#places.get(node) ?? this.#begin(node, now)
  }

  #begin(node: Node, now: number): Place {
    const rows = new Float64Array(ROW)
    rows[COST] = UNPROVEN
    rows[STAMP] = now
    rows[LAST_PICK] = now
    rows[SERIAL] = this.#picks
    rows[HELD_UNTIL] = now
    const place = { rows, at: 0 }
    this.#places.set(node, place)
    return place
  }
}

/** The requests in flight of a node with the one to come, for its weight, as a multiple of what they are compared with. */
function share(node: Node, other: Node): number {
  return (node.inflight + 1) * weightOf(other)
}

/** e^x. Near 0, where x is while requests follow each other closely, three terms are exact to nine digits, and quicker. */
function exp(x: number): number {
  return x * x < 1e-6 ? 1 + x + x * x * 0.5 : Math.exp(x)
}
