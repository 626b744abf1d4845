/**
 * A UUID whose first 48 bits are the time in milliseconds (RFC 9562, version 7), so that ids sort by age. `count` orders
 * those of the same millisecond, from 0 to 4095.
 */
export function uuidv7(now: number, count: number): string {
  const time = now.toString(16).padStart(12, '0')
  const ordered = (0x7000 | count).toString(16)
  // Its last 64 bits have the variant in place, and the platform makes them in bulk.
  return `${time.slice(0, 8)}-${time.slice(8)}-${ordered}-${crypto.randomUUID().slice(19)}`
}

/** Ids of one process, each above the one before, even when its wall clock is set back. */
export function risingIds(wallClock: () => number = Date.now): () => string {
  let last = 0
  let count = 0

  return () => {
    const now = wallClock()
    if (now > last) {
      last = now
      count = 0
    } else if (++count > 0xfff) {
      last++
      count = 0
    }
    return uuidv7(last, count)
  }
}

/** Marks that no other process makes: a random half, and a count. Cheaper than a random one each time. */
export function tokens(): () => string {
  const prefix = crypto.randomUUID().slice(0, 24)
  let count = 0
  return () => `${prefix}${(count++).toString(16).padStart(12, '0')}`
}
