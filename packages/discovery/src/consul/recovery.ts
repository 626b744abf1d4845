import type { EndpointInit } from '../endpoint.js'

/** For so long, ms, a Consul that has started over is taken to be incomplete: as long as `emptyGrace` by default. */
const RECOVERY = 10_000

/**
 * A Consul that has started over hears of the instances one by one, each within seconds. Until then its list is true and far
 * from complete, and all requests would go to the few who are back first. So for ten seconds a list that has less than half of
 * what there was before is not believed: those that it lacks stay in use. At other times a list is believed whatever it lacks,
 * and one that lists nobody is left to the discovery's `emptyGrace`.
 *
 * After the panic threshold of Envoy, which is half too, and the self-preservation of Eureka, which has no end.
 */
export class Recovery {
  #last: readonly EndpointInit[] = []
  /** What there was when it started over, and until when that counts. */
  #before: readonly EndpointInit[] = []
  #until = Number.NEGATIVE_INFINITY
  #startedOver = false
  #doubted = false

  /** Consul was away, or its index went back: what it lists from now on may be incomplete. */
  startOver(): void {
    this.#startedOver = true
  }

  /** Milliseconds until the last list will be believed as it is; undefined when it was. */
  doubtedFor(now: number): number | undefined {
    return this.#doubted ? Math.max(0, this.#until - now) : undefined
  }

  /** The list, with those that it lacks where it is not believed. */
  complete(listed: readonly EndpointInit[], now: number): readonly EndpointInit[] {
    if (this.#startedOver) {
      this.#startedOver = false
      this.#before = this.#last
      this.#until = now + RECOVERY
    }
    this.#doubted = now < this.#until && listed.length * 2 < this.#before.length
    if (this.#doubted && listed.length === 0) return listed

    this.#last = this.#doubted ? [...listed, ...missing(listed, this.#before)] : listed
    return this.#last
  }
}

function missing(listed: readonly EndpointInit[], before: readonly EndpointInit[]): EndpointInit[] {
  const names = new Set(listed.map(nameOf))
  return before.filter((endpoint) => !names.has(nameOf(endpoint)))
}

function nameOf({ id, host, port }: EndpointInit): string {
  return id ?? `${host}:${port}`
}
