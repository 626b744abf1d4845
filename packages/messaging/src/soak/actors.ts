import { appendFileSync } from 'node:fs'
import { setImmediate as turn, setTimeout as wait } from 'node:timers/promises'
import { z } from 'zod'
import { createBus } from '../bus.js'
import { type Catalogue, defineEvents } from '../catalogue.js'
import { isMessagingError } from '../errors.js'
import { rabbitmq } from '../rabbitmq.js'

type SoakSchemas = { 'soak.happened': z.ZodObject<{ n: z.ZodNumber; pad: z.ZodString }> }

/** The event of the soak. */
export const soakEvents: Catalogue<SoakSchemas> = defineEvents<SoakSchemas>({
  'soak.happened': z.object({ n: z.number(), pad: z.string() }),
})

export const GROUPS: readonly string[] = ['first', 'second', 'third']

/** What a process of its own is to do; the parameters come as JSON. */
export type Role =
  | { readonly role: 'consume'; readonly url: string; readonly ledger: string }
  | { readonly role: 'flood'; readonly url: string; readonly callers: number; readonly onFull: 'wait' | 'reject' }

/** What a flooding process says, a line of JSON each second. */
export interface FloodReport {
  readonly rss: number
  readonly blocked: boolean
  readonly confirmed: number
  readonly rejected: Readonly<Record<string, number>>
  readonly inFlight: number
  readonly done: boolean
}

/**
 * Plays its part until it is done or killed.
 *
 * @public by name, in the file that bundleActors makes
 */
export function act(role: Role): Promise<void> {
  return role.role === 'consume' ? consume(role) : flood(role)
}

/** Handles the events of all groups, writing each down before it is acknowledged. A line that is written survives a kill. */
async function consume({ url, ledger }: Extract<Role, { role: 'consume' }>): Promise<void> {
  const bus = createBus({ events: soakEvents, transport: rabbitmq({ url, reconnect: soon }), source: 'soak-consumer' })
  for (const group of GROUPS) {
    bus.subscribe(
      group,
      'soak.*',
      ({ id }) => {
        appendFileSync(ledger, `${group} ${id}\n`)
      },
      { concurrency: 32 },
    )
  }
  for (;;) {
    try {
      await bus.start()
      return
    } catch {
      // Killed and begun again while the broker is away.
      await wait(100)
    }
  }
}

/**
 * Publishes as much as it can from so many callers, until its parent closes standard input; then waits until everything
 * is settled.
 */
async function flood({ url, callers, onFull }: Extract<Role, { role: 'flood' }>): Promise<void> {
  const transport = rabbitmq({ url, onFull, confirmTimeout: 300_000, reconnect: soon })
  const bus = createBus({ events: soakEvents, transport, source: `soak-flood-${onFull}` })
  const pad = 'x'.repeat(1_000)
  const rejected: Record<string, number> = {}
  let confirmed = 0
  let isOver = false
  process.stdin.on('end', () => {
    isOver = true
  })
  process.stdin.resume()

  const caller = async (): Promise<void> => {
    for (let n = 0; !isOver; n += 1) {
      try {
        await bus.publish('soak.happened', { n, pad })
        confirmed += 1
      } catch (error) {
        const code = isMessagingError(error) ? error.code : String(error)
        rejected[code] = (rejected[code] ?? 0) + 1
        await turn()
      }
    }
  }
  const report = (done: boolean): void => {
    ;(globalThis as { gc?: () => void }).gc?.()
    const { inFlight, blocked } = bus.health().publisher
    const line: FloodReport = {
      rss: process.memoryUsage.rss(),
      blocked: blocked !== undefined,
      confirmed,
      rejected,
      inFlight,
      done,
    }
    console.log(JSON.stringify(line))
  }
  await bus.start()
  const reporting = setInterval(report, 500, false)
  await Promise.all(Array.from({ length: callers }, caller))
  clearInterval(reporting)
  report(true)
  await bus.close()
}

/** Full speed ahead: the tests are the only ones who knock. */
function soon(retry: number): number {
  return Math.min(50 * 2 ** retry, 500)
}
