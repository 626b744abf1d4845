/** A table that has seen more names begins anew. */
const MOST_NAMES = 32

/** Written by the broker, or read by it: none is ours to hand on. */
const BROKERS_OWN = /^(x-(death|(first|last)-death-.*|delivery-count|acquired-count)|B?CC)$/

/**
 * The headers of one message after the other, in one and the same object. amqplib makes the object that it is given the
 * prototype of another one while it writes them, and for a fresh object that takes V8 longer than everything else about
 * a small message. What is filled in is good until the next is.
 */
export class HeaderTable {
  #table: Record<string, unknown> = Object.create(null)
  readonly #names = new Set<string>()

  fill(headers: Readonly<Record<string, unknown>>): Record<string, unknown> {
    if (this.#names.size > MOST_NAMES) {
      this.#names.clear()
      this.#table = Object.create(null)
    }
    // Undefined is not written. Deleting names would make the table slow.
    for (const name of this.#names) this.#table[name] = undefined
    for (const name in headers) {
      if (!isBrokersOwn(name)) this.set(name, headers[name])
    }

    return this.#table
  }

  /** Adds one to what is filled in. */
  set(name: string, value: unknown): void {
    this.#names.add(name)
    this.#table[name] = value
  }
}

/** Nearly every name is told by its first letter. */
function isBrokersOwn(name: string): boolean {
  const first = name[0]

  return (first === 'x' || first === 'C' || first === 'B') && BROKERS_OWN.test(name)
}
