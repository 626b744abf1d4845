import { MessagingError } from '../errors.js'
import type { WireMessage } from '../transport.js'
import { HEADER, readCount, readText } from './envelope.js'

interface Parked {
  readonly id: string | undefined
  /** How often it had been redriven when it was put away. */
  redriven: number
}

/**
 * The keys that no message gets through of, and what lies in the dead letters of each, in order. A message passes when
 * nothing that came before it lies there, or when it was redriven more often than all of that: then somebody decided so.
 */
export class ParkedKeys {
  readonly #keys = new Map<string, Parked[]>()

  /** Why the message is not to be handled; undefined lets it pass. */
  refusalOf(wire: WireMessage): MessagingError | undefined {
    const key = readText(wire.headers, HEADER.key)
    const parked = key === undefined ? undefined : this.#keys.get(key)
    if (key === undefined || parked === undefined) return undefined

    const redriven = readCount(wire.headers, HEADER.redriven) ?? 0
    const place = parked.findIndex(({ id }) => id === wire.id)
    const before = place === -1 ? parked : parked.slice(0, place)
    if (before.some((other) => other.redriven >= redriven)) return keyParked(wire.type, key)

    parked.splice(0, place === -1 ? parked.length : place + 1)
    if (parked.length === 0) this.#keys.delete(key)
    return undefined
  }

  /** The message is a dead letter now. `failed`: by itself, and not for being behind another one. */
  add(wire: WireMessage, failed: boolean): void {
    const key = readText(wire.headers, HEADER.key)
    if (key === undefined) return

    const parked = this.#keys.get(key) ?? []
    const redriven = readCount(wire.headers, HEADER.redriven) ?? 0
    const known = parked.find(({ id }) => id === wire.id)
    if (known !== undefined) known.redriven = redriven
    else if (failed) parked.unshift({ id: wire.id, redriven })
    else parked.push({ id: wire.id, redriven })
    this.#keys.set(key, parked)
  }
}

function keyParked(type: string, key: string): MessagingError {
  const problem = `'${type}' waits behind a dead letter of its key '${key}': redrive both`

  return new MessagingError('MSX_KEY_PARKED', problem, { retryable: false, details: { type, key } })
}
