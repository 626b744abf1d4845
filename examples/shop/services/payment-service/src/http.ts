import { status } from '@grpc/grpc-js'
import { type App, HttpProblem, notFound, readJson } from '@shop/platform'
import { z } from 'zod'
import { pay } from './payments.js'
import { Refusal } from './refusal.js'
import type { Transactions } from './transactions.js'

/** What a refused payment is over HTTP: the same as where our own gateway transcodes it. */
const problems: Readonly<Record<number, { readonly status: number; readonly title: string }>> = {
  [status.UNAUTHENTICATED]: { status: 401, title: 'Unauthorized' },
  [status.NOT_FOUND]: { status: 404, title: 'Not Found' },
  [status.FAILED_PRECONDITION]: { status: 409, title: 'Conflict' },
  [status.INVALID_ARGUMENT]: { status: 422, title: 'Unprocessable Content' },
}

/** What payment-service answers over HTTP besides its health: the ledger, and payments where a gateway speaks no gRPC. */
export function paymentRoutes(app: App, transactions: Transactions): void {
  app.post('/api/payments', async (context) => {
    const message = await readJson(context, z.unknown())
    return context.json(await pay(transactions, message, context.req.header('x-user-id')).catch(explainRefusal))
  })

  app.get('/internal/payments/:orderId', async (context) => {
    const orderId = context.req.param('orderId')
    const transaction = await transactions.find(orderId)
    if (transaction === undefined) throw notFound('such payment')

    return context.json({ ...transaction, ledger: await transactions.ledger(orderId) })
  })
}

function explainRefusal(error: unknown): never {
  const problem = error instanceof Refusal ? problems[error.code] : undefined
  if (problem === undefined) throw error

  throw new HttpProblem({ ...problem, detail: (error as Refusal).details })
}
