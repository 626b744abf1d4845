import type { ServerResponse } from 'node:http'
import { cut } from './http2.js'

/** A response that has begun or is to begin, chained to its neighbours. */
export interface Flight {
  readonly res: ServerResponse
  before: Flight | undefined
  after: Flight | undefined
}

/**
 * The responses under way. A chain and not a Set: a Set leaves its old tables behind, and what they still name, a
 * whole request each, then outlives several collections of young garbage.
 */
export class InFlight {
  #first: Flight | undefined
  #size = 0

  get size(): number {
    return this.#size
  }

  add(res: ServerResponse): Flight {
    const flight: Flight = { res, before: undefined, after: this.#first }
    if (this.#first !== undefined) this.#first.before = flight
    this.#first = flight
    this.#size += 1

    return flight
  }

  /** Once for each that was added. */
  remove(flight: Flight): void {
    const { before, after } = flight
    if (before === undefined) this.#first = after
    else before.after = after
    if (after !== undefined) after.before = before
    flight.before = undefined
    flight.after = undefined
    this.#size -= 1
  }

  destroyAll(): void {
    for (let flight = this.#first; flight !== undefined; ) {
      // Destroying may remove it, and with it its neighbour.
      const { after, res } = flight
      cut(res)
      flight = after
    }
  }
}
