import { sleep, type Timekeeper } from './clock.js'
import { type DeadLetter, readDeadLetter, withoutFailure } from './dead-letter.js'
import { isMessagingError } from './errors.js'
import { checkCount, checkFunction, refuse } from './internal/check.js'
import { deadLetterQueueOf } from './subscribe-options.js'
import type { Delivery, TransportConnection, WireMessage } from './transport.js'

export interface RedriveOptions {
  /** Which ones to take back. Default: all. */
  readonly filter?: ((letter: DeadLetter) => boolean) | undefined
  /** How many at most. Default: no limit. */
  readonly limit?: number | undefined
  /** How many per second at most. Default: as fast as the broker takes them. */
  readonly rate?: number | undefined
  /** Only count. Default false. */
  readonly dryRun?: boolean | undefined
}

export interface RedriveResult {
  /** How many were moved; in a dry run, how many would have been. */
  readonly moved: number
  /** How many of those that were there are still there. */
  readonly left: number
}

/** In messages per second. */
const SLOWEST = 0.001

/**
 * Moves dead letters back to the queue they came from, as if they had never been tried. Looks at as many as there
 * were at the start, so that what fails again meanwhile is not moved in circles. Those that stay are held until the
 * end, which keeps their order.
 */
export async function redriveQueue(
  connection: TransportConnection,
  queue: string,
  route: (message: WireMessage) => string,
  time: Timekeeper,
  { filter, limit = Number.POSITIVE_INFINITY, rate, dryRun = false }: RedriveOptions,
): Promise<RedriveResult> {
  const deadLetterQueue = deadLetterQueueOf(queue)
  // Taken before it is counted: a broker may count without what was put back a moment ago, but it does give it out.
  const first = await connection.get(deadLetterQueue)
  if (first === undefined) return { moved: 0, left: 0 }

  const held: Delivery[] = []
  let next: Delivery | undefined = first
  let moved = 0

  try {
    const depth = 1 + (await connection.depth(deadLetterQueue))
    for (let seen = 0; seen < depth && moved < limit; seen += 1) {
      if (moved > 0 && rate !== undefined && !dryRun) await sleep(time, 1_000 / rate)
      const delivery = next ?? (await connection.get(deadLetterQueue))
      next = undefined
      if (delivery === undefined) break

      held.push(delivery)
      if (filter !== undefined && !filter(readDeadLetter(delivery.message))) continue
      if (!dryRun) {
        if (!(await fits(connection.send(route(delivery.message), withoutFailure(delivery.message))))) continue
        delivery.ack()
        held.pop()
      }
      moved += 1
    }
    return { moved, left: depth - moved }
  } finally {
    next?.release()
    for (const delivery of held) delivery.release()
  }
}

/** Whether the message was sent; one that is too large for what is to be written on it stays, and holds up no other. */
async function fits(sent: Promise<void>): Promise<boolean> {
  try {
    await sent
    return true
  } catch (error) {
    if (isMessagingError(error) && error.code === 'MSX_TOO_LARGE') return false
    throw error
  }
}

export function checkRedriveOptions(group: string, { filter, limit, rate, dryRun }: RedriveOptions): void {
  const where = `redrive '${group}'`
  if (filter !== undefined) checkFunction(where, 'filter', filter)
  if (limit !== Number.POSITIVE_INFINITY) checkCount(where, 'limit', limit, 0)
  const isRate = rate === undefined || (typeof rate === 'number' && rate >= SLOWEST && rate < Number.POSITIVE_INFINITY)
  if (!isRate) refuse(where, 'rate', rate, `a number of messages per second from ${SLOWEST}`)
  if (dryRun !== undefined && typeof dryRun !== 'boolean') refuse(where, 'dryRun', dryRun, 'true or false')
}
