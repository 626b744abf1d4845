import { isSagaConflictError, type SagaEngine, type SagaStatus } from '@msx/saga'
import { type App, HttpProblem, limitOf, notFound, readJson } from '@shop/platform'
import { z } from 'zod'
import { linesOf } from './saga-view.js'

const statuses = [
  'running',
  'waiting',
  'compensating',
  'completed',
  'compensated',
  'cancelled',
  'stuck',
  'abandoned',
] as const

const base = '/internal/operations/sagas'

const decision = z.intersection(
  z.object({
    step: z.string().min(1),
    by: z.string().min(1).max(200).default('operator'),
    reason: z.string().min(1).max(1_000),
    rev: z.int().nonnegative(),
  }),
  z.discriminatedUnion('do', [
    z.object({ do: z.enum(['retry', 'skip', 'compensate', 'abandon']) }),
    z.object({ do: z.literal('complete'), result: z.json() }),
  ]),
)

const cancellation = z.object({ reason: z.string().min(1).max(1_000) })

/** The checkouts, for whoever keeps the shop running: what they are at, and what to do about one that is stuck. */
export function sagaOperations(app: App, engine: SagaEngine, token: string | undefined): void {
  // The token itself is asked for by the operations that every service has, on all that begins alike.
  if (token === undefined) return

  app.get(base, async (context) => {
    const status = context.req.query('status') || undefined
    if (status !== undefined && !isStatus(status)) {
      throw unprocessable(`status is '${status}'; expected one of ${statuses.join(', ')}`)
    }

    const limit = limitOf(context, { usual: 50, most: 200 })
    const after = context.req.query('after') || undefined
    const { items, next } = await engine
      .list({ ...(status !== undefined && { status }) }, { limit, after })
      .catch(explained)
    return context.json({ items: items.map(summary), next })
  })

  app.get(`${base}/:id`, async (context) => {
    const { id, view } = await found(context.req.param('id'))
    const [history, timeline] = await Promise.all([engine.history(id), engine.timeline(id)])
    return context.json({ ...summary(view), steps: linesOf(history), timeline })
  })

  app.post(`${base}/:id/resume`, async (context) => {
    const { id } = await found(context.req.param('id'))
    const wanted = await readJson(context, decision)
    return context.json(summary(await engine.resume(id, wanted).catch(explained)))
  })

  app.post(`${base}/:id/cancel`, async (context) => {
    const { id } = await found(context.req.param('id'))
    const { reason } = await readJson(context, cancellation)
    const answer = await engine.cancel(id, { reason })
    return context.json({ id, answer }, answer === 'compensating' ? 202 : 409)
  })

  async function found(id: string) {
    const view = await engine.get(id)
    if (view === undefined) throw notFound('such saga')
    return { id, view }
  }
}

type View = NonNullable<Awaited<ReturnType<SagaEngine['get']>>>

function summary(view: View): object {
  const { id, name, version, rev, status, step, attempt, key, error, createdAt, finishedAt, wakeAt } = view
  return {
    id,
    name,
    version,
    rev,
    status,
    step,
    attempt,
    orderId: key,
    error: error && { name: error.name, message: error.message },
    createdAt,
    finishedAt,
    wakeAt,
  }
}

function isStatus(text: string): text is SagaStatus & (typeof statuses)[number] {
  return statuses.some((status) => status === text)
}

/** Somebody else decided first, or the decision does not fit what the saga is at. */
function explained(error: unknown): never {
  if (isSagaConflictError(error)) {
    throw new HttpProblem({ status: 409, title: 'Conflict', detail: error.message })
  }
  if (error instanceof TypeError) throw unprocessable(error.message)
  throw error
}

function unprocessable(detail: string): HttpProblem {
  return new HttpProblem({ status: 422, title: 'Unprocessable Content', detail })
}
