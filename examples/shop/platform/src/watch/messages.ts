import { setTimeout as sleep } from 'node:timers/promises'
import { type BusMiddleware, NonRetryableError } from '@msx/messaging'
import type { Edges } from './edges.js'
import type { Faults } from './faults.js'

/** What all events go through, as a neighbour of every service. */
export const broker = 'broker'

interface Talking {
  on(event: 'published', listener: (event: { readonly duration: number }) => void): unknown
  on(event: 'publishFailed', listener: (event: { readonly duration: number }) => void): unknown
  on(event: 'handled', listener: (event: { readonly duration: number }) => void): unknown
  on(event: 'retry', listener: (event: { readonly duration: number }) => void): unknown
  on(event: 'deadLetter', listener: (event: { readonly duration: number }) => void): unknown
}

/** Measures what a service publishes, and how it fares with what it hears. */
export function watchBus(bus: Talking, service: string, edges: Edges): void {
  const sent = edges.meter(broker, 'event')
  bus.on('published', ({ duration }) => sent.call(duration, true))
  bus.on('publishFailed', ({ duration }) => sent.call(duration, false))

  // Towards itself: events come from the broker, but only their consumer sees what becomes of them.
  const heard = () => edges.meter(service, 'event')
  bus.on('handled', ({ duration }) => heard().call(duration, true))
  bus.on('retry', ({ duration }) => {
    heard().call(duration, false)
    heard().retry()
  })
  bus.on('deadLetter', ({ duration }) => heard().call(duration, false))
}

/** Breaks the handling of events as it was asked for. */
export function disturbed(faults: Faults): BusMiddleware {
  return async (message, _context, next) => {
    const { latency, then } = faults.strike(message.type)
    if (latency > 0) await sleep(latency, undefined, { signal: message.signal })
    if (then === 'fail') throw new Error('broken on purpose')
    if (then === 'drop') throw new NonRetryableError('dropped on purpose')
    await next()
  }
}
