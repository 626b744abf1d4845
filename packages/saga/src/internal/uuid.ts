/** The first 48 bits of a UUID: the time in milliseconds (RFC 9562, version 7), so that ids sort by age. */
function timeOf(now: number): string {
  const time = now.toString(16).padStart(12, '0')
  return `${time.slice(0, 8)}-${time.slice(8)}-`
}

function uuidOf(time: string, count: number): string {
  // Its last 64 bits have the variant in place, and the platform makes them in bulk.
  return `${time}${(0x7000 | count).toString(16)}-${crypto.randomUUID().slice(19)}`
}

/** Ids of one process, each above the one before, even when its wall clock is set back. */
export function risingIds(wallClock: () => number = Date.now): () => string {
  let last = 0
  let count = 0
  let time = ''

  return () => {
    const now = wallClock()
    if (now > last) {
      last = now
      count = 0
      time = timeOf(last)
    } else if (++count > 0xfff) {
      last++
      count = 0
      time = timeOf(last)
    }
    return uuidOf(time, count)
  }
}

/** Marks that no other process makes: a random half, and a count. Cheaper than a random one each time. */
export function tokens(): () => string {
  const random = crypto.randomUUID().slice(0, 24)
  const low = Array.from({ length: 256 }, (_, n) => n.toString(16).padStart(2, '0'))
  let high = 0
  let count = 0
  let prefix = ''
  return () => {
    if ((count & 0xff) === 0) prefix = random + (high++).toString(16).padStart(10, '0')
    return prefix + low[count++ & 0xff]
  }
}
