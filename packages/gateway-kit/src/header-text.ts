/** What was read last at one place of a head. */
interface Remembered {
  bytes: Uint8Array
  text: string
  misses: number
}

/** Heads are mostly alike, and what stands at a place of one stood there in the last one. Nothing long is kept. */
const places: Remembered[] = []
const PLACES = 64
const LONGEST = 32
/** What changes from head to head is not worth the copy each time. */
const PATIENCE = 8

/**
 * The text of a name or a value at this place of a head. Comparing a few bytes costs a fraction of making a text of them,
 * which is done outside of JavaScript.
 */
export function headerText(item: unknown, place: number): string {
  if (!Buffer.isBuffer(item)) return String(item)

  const before = places[place]
  if (before !== undefined && equal(before.bytes, item)) {
    before.misses = 0
    return before.text
  }

  const text = item.toString('latin1')
  if (place < PLACES && item.length <= LONGEST) remember(before, item, text, place)
  return text
}

function remember(before: Remembered | undefined, item: Buffer, text: string, place: number): void {
  // The item is a part of what was read from a socket, all of which it would keep alive.
  if (before === undefined && place === places.length) places.push({ bytes: Uint8Array.from(item), text, misses: 0 })
  else if (before !== undefined && ++before.misses >= PATIENCE) {
    before.bytes = Uint8Array.from(item)
    before.text = text
    before.misses = 0
  }
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false
  for (let index = 0; index < a.length; index += 1) if (a[index] !== b[index]) return false

  return true
}
