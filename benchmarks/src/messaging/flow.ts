import type { Consuming } from './consumers.js'
import type { Order } from './payload.js'
import { type Publisher, WINDOW } from './publishers.js'

/** What a turn of a subject came to. */
export interface Flow {
  readonly messages: number
  /** In ms. */
  readonly duration: number
  /** Time that this process was given, the one that publishes or consumes, in ms. */
  readonly cpu: number
}

/** When to publish no more: after so many ms, or so many messages. */
export type Until = { readonly ms: number } | { readonly count: number }

/** Publishes with as many unconfirmed as the window takes, then awaits the last confirm. */
export function publish(publisher: Publisher, orders: readonly Order[], until: Until): Promise<Flow> {
  return new Promise((resolve, reject) => {
    const stopwatch = startStopwatch()
    const startedAt = performance.now()
    const isOver = 'ms' in until ? () => performance.now() - startedAt >= until.ms : () => sent >= until.count
    let sent = 0
    let confirmed = 0

    const pump = (): void => {
      while (sent - confirmed < WINDOW && !isOver()) {
        sent += 1
        publisher.send(orders[sent % orders.length]!, done)
      }
    }
    const done = (error?: unknown): void => {
      if (error !== undefined && error !== null) reject(error)
      confirmed += 1
      pump()
      if (confirmed === sent) resolve({ messages: confirmed, ...stopwatch() })
    }
    pump()
  })
}

/** Consumes so many messages that are in the queue already; timed from the first to the last. */
export async function consume(consuming: Consuming, count: number): Promise<Flow> {
  let handled = 0
  let stopwatch = startStopwatch()
  let stop: (() => Promise<void>) | undefined

  const times = await new Promise<ReturnType<typeof stopwatch>>((resolve, reject) => {
    const handle = (): void => {
      if (handled === 0) stopwatch = startStopwatch()
      handled += 1
      if (handled === count) resolve(stopwatch())
    }
    consuming.consume(handle).then((ending) => {
      stop = ending
    }, reject)
  })
  // What was handled last is acknowledged in the same turn, or in one of the next.
  await new Promise((resolve) => setTimeout(resolve, MOMENT))
  await stop?.()

  return { messages: handled, ...times }
}

/** In ms. */
const MOMENT = 50

function startStopwatch(): () => { readonly duration: number; readonly cpu: number } {
  const startedAt = performance.now()
  const used = process.cpuUsage()

  return () => {
    const { user, system } = process.cpuUsage(used)
    return { duration: performance.now() - startedAt, cpu: (user + system) / 1_000 }
  }
}
