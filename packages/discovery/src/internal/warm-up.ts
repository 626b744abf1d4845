import { type Clock, schedule } from '../clock.js'
import type { TrackedNode } from './tracked-node.js'

/*
 * Slow start, as Envoy has it: an endpoint begins with a tenth of its weight and gets the rest over `window` ms, so that
 * caches fill and code is compiled before it takes its full share. In steps rather than with every pick: balancers may keep
 * what they computed from the weights until they are given another list.
 */

/** What an endpoint begins with. */
const COLD = 0.1
const STEPS = 20

/** The part of its weight that an endpoint of this age has, both ms. */
export function warmth(age: number, window: number): number {
  return Math.min(Math.max(age / window, COLD), 1)
}

/** Which endpoints of one service are warming up. */
export class WarmUp {
  readonly #window: number
  readonly #clock: Clock
  readonly #changed: () => void
  readonly #warming = new Map<TrackedNode, number>()
  #cancelStep: (() => void) | undefined

  /** @param changed Called when weights have changed. */
  constructor(window: number, clock: Clock, changed: () => void) {
    this.#window = window
    this.#clock = clock
    this.#changed = changed
  }

  /** This endpoint is cold. Its weight is right when this returns; later changes are told. */
  begin(node: TrackedNode): void {
    this.#warming.set(node, this.#clock.now())
    node.warmth = COLD
    this.#cancelStep ??= schedule(this.#clock, this.#window / STEPS, () => this.#step())
  }

  /** Only these are left. */
  keep(nodes: ReadonlySet<TrackedNode>): void {
    for (const node of this.#warming.keys()) if (!nodes.has(node)) this.#finish(node)
  }

  end(): void {
    this.#cancelStep?.()
    this.#cancelStep = undefined
    for (const node of this.#warming.keys()) this.#finish(node)
  }

  #step(): void {
    this.#cancelStep = undefined
    const now = this.#clock.now()

    for (const [node, since] of this.#warming) {
      const part = warmth(now - since, this.#window)
      node.warmth = part
      if (part === 1) this.#finish(node)
    }
    if (this.#warming.size > 0) this.#cancelStep = schedule(this.#clock, this.#window / STEPS, () => this.#step())
    this.#changed()
  }

  #finish(node: TrackedNode): void {
    node.warmth = 1
    this.#warming.delete(node)
  }
}
