import { type App, HttpProblem, hasDeparted, notFound, readJson } from '@shop/platform'
import type { Context } from 'hono'
import { orderRequest } from './order-request.js'
import { findOrder, type Order } from './orders.js'
import { type PlaceOrderDeps, placeOrder } from './place-order.js'
import type { Products } from './products.js'
import { sagaView } from './saga-view.js'

const maxKey = 255

export function orderRoutes(app: App, deps: PlaceOrderDeps): void {
  const { database, engine, products } = deps

  app.post('/api/orders', async (context) => {
    const userId = userOf(context)
    const key = idempotencyKeyOf(context)
    const id = await placeOrder(deps, { userId, key, body: await readJson(context, orderRequest) })

    return context.json({ id, status: 'PENDING' }, 202, { location: `/api/orders/${id}` })
  })

  app.get('/api/orders/:id', async (context) => {
    return context.json(await orderView(await own(context), products))
  })

  app.get('/api/orders/:id/saga', async (context) => {
    const { sagaId } = await own(context)
    return context.json(await sagaView(engine, sagaId))
  })

  app.post('/api/orders/:id/cancel', async (context) => {
    const { id, sagaId } = await own(context)
    const answer = await engine.cancel(sagaId, { reason: 'cancelled by the customer' })
    const { status } = await own(context)
    if (answer === 'refused-after-pivot' || (answer === 'already-finished' && status !== 'CANCELLED')) {
      throw new HttpProblem({
        status: 409,
        title: 'Conflict',
        detail: 'the order is confirmed; it can no longer be cancelled',
      })
    }

    return context.json({ id, status }, 202, { location: `/api/orders/${id}` })
  })

  /** The order that is asked for, if it is the asker's, who has an account. Somebody else's looks the same as none. */
  async function own(context: Context): Promise<Order> {
    const userId = userOf(context)
    const order = await findOrder(database, context.req.param('id') ?? '')
    if (order?.userId !== userId || (await hasDeparted(database, userId))) throw notFound('such order')

    return order
  }
}

/** Whom the gateway let in. Without it the request did not come through the gateway. */
function userOf(context: Context): string {
  const userId = context.req.header('x-user-id')
  if (userId !== undefined && userId !== '') return userId

  throw new HttpProblem({ status: 401, title: 'Unauthorized', detail: 'sign in first' })
}

function idempotencyKeyOf(context: Context): string {
  const key = context.req.header('idempotency-key')?.trim() ?? ''
  if (key !== '' && key.length <= maxKey) return key

  const detail =
    key === ''
      ? 'the header Idempotency-Key is missing; send a new unique value with each new order'
      : `the Idempotency-Key has ${key.length} characters; it may have ${maxKey}`
  throw new HttpProblem({ status: 400, title: 'Bad Request', detail })
}

async function orderView(order: Order, products: Products): Promise<object> {
  const { id, status, total, currency, paymentMethod, createdAt, reason } = order
  const names = await products.names(order.items.map((item) => item.productId))
  const items = order.items.map(({ productId, quantity, price, name }) => {
    const current = names.get(productId)
    // `fallback` says that the name is the one of the day of the order, not today's.
    return { productId, quantity, price, name: current ?? name, ...(current === undefined && { fallback: true }) }
  })

  return { id, status, items, total, currency, paymentMethod, createdAt, ...(reason !== undefined && { reason }) }
}
