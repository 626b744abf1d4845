import { timingSafeEqual } from 'node:crypto'
import { z } from 'zod'
import type { App } from '../http.js'
import { HttpProblem, limitOf, notFound, readJson } from '../problem.js'
import type { DeadLetterBox } from './dead-letters.js'
import type { Edge } from './edges.js'
import type { Fault } from './faults.js'
import type { Instruments } from './instruments.js'

/** What a service tells the operations API of itself. */
export interface ServiceStatus {
  readonly service: string
  readonly pid: number
  readonly edges: readonly Edge[]
  readonly faults: readonly Fault[]
  /** What it hears events as, if it does. */
  readonly group: string | undefined
}

const base = '/internal/operations'

const faultOrder = z.object({
  id: z.string(),
  route: z.string(),
  latency: z.number().optional(),
  errors: z.number().optional(),
  drop: z.number().optional(),
})

const replayOrder = z.strictObject({ ids: z.array(z.string()).optional() })

/** Lets whoever knows the token look into the service and disturb it. Without a token there is nothing here. */
export function operationRoutes(app: App, service: string, instruments: Instruments, box?: DeadLetterBox): void {
  const { edges, faults, spans, token } = instruments
  if (token === undefined) return

  app.use(`${base}/*`, async (context, next) => {
    if (!isSame(context.req.header('authorization') ?? '', `Bearer ${token}`)) throw notFound('such resource')
    await next()
  })

  app.get(`${base}/status`, (context) => {
    const status: ServiceStatus = {
      service,
      pid: process.pid,
      edges: edges.snapshot(),
      faults: faults.list(),
      group: box?.group,
    }
    return context.json(status)
  })

  app.get(`${base}/spans`, (context) => context.json({ items: spans.list(context.req.query('trace')) }))

  app.put(`${base}/faults`, async (context) => {
    if (!faults.set(await readJson(context, faultOrder))) {
      throw new HttpProblem({ status: 410, title: 'Gone', detail: 'this fault was dropped before' })
    }
    return context.json({ items: faults.list() })
  })

  app.delete(`${base}/faults`, (context) => {
    faults.clear(context.req.query('id'))
    return context.body(null, 204)
  })

  app.post(`${base}/kill`, (context) => {
    // After the answer has left.
    setTimeout(() => instruments.kill(), 20)
    return context.body(null, 202)
  })

  app.get(`${base}/dead-letters`, async (context) => {
    return context.json(await boxOf(box).read(limitOf(context, { usual: 50, most: 500 })))
  })

  app.post(`${base}/dead-letters/replay`, async (context) => {
    const { ids } = await readJson(context, replayOrder)
    return context.json({ replayed: await boxOf(box).replay(ids) })
  })
}

function boxOf(box: DeadLetterBox | undefined): DeadLetterBox {
  if (box !== undefined) return box
  throw new HttpProblem({ status: 404, title: 'Not Found', detail: 'this service hears no events' })
}

/** In a time that does not depend on where two texts begin to differ. */
export function isSame(given: string, expected: string): boolean {
  const [a, b] = [Buffer.from(given), Buffer.from(expected)]
  return a.length === b.length && timingSafeEqual(a, b)
}
