import type { Delivery } from '../transport.js'
import { HEADER, readText } from './envelope.js'

/** What was fetched and not begun. */
export interface Fetched {
  push(delivery: Delivery): void
  /** What may begin now, taken out. */
  next(): Delivery | undefined
  done(delivery: Delivery): void
  /** Everything, taken out. */
  clear(): readonly Delivery[]
}

/** Whatever came first. */
export class InTurn implements Fetched {
  #waiting: Delivery[] = []

  push(delivery: Delivery): void {
    this.#waiting.push(delivery)
  }

  next(): Delivery | undefined {
    return this.#waiting.shift()
  }

  done(): void {}

  clear(): readonly Delivery[] {
    const all = this.#waiting
    this.#waiting = []
    return all
  }
}

/** Whatever came first of the keys that nothing is being handled of. */
export class ByKey implements Fetched {
  #waiting: Delivery[] = []
  readonly #busy = new Set<string>()

  push(delivery: Delivery): void {
    this.#waiting.push(delivery)
  }

  next(): Delivery | undefined {
    const at = this.#waiting.findIndex((delivery) => !this.#busy.has(keyOf(delivery) ?? ''))
    if (at === -1) return undefined

    const [delivery] = this.#waiting.splice(at, 1)
    const key = delivery && keyOf(delivery)
    if (key !== undefined) this.#busy.add(key)
    return delivery
  }

  done(delivery: Delivery): void {
    const key = keyOf(delivery)
    if (key !== undefined) this.#busy.delete(key)
  }

  clear(): readonly Delivery[] {
    const all = this.#waiting
    this.#waiting = []
    return all
  }
}

/** An empty key is none. */
function keyOf({ message }: Delivery): string | undefined {
  return readText(message.headers, HEADER.key) || undefined
}
