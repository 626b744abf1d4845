import { randomUUID } from 'node:crypto'
import type { SchemasOf } from '@msx/messaging'
import type { Outbox } from '@msx/messaging/postgres'
import type { SagaEngine } from '@msx/saga'
import type { Tracer } from '@opentelemetry/api'
import type { ShopEvents } from '@shop/contracts'
import { type Database, HttpProblem, hasDeparted, inSpan, type Log, presentTrace, unavailable } from '@shop/platform'
import type { CheckoutDefinition } from './checkout.js'
import { hashOf, type OrderRequest } from './order-request.js'
import { findRequest, insertOrder, insertRequest, type OrderRequestRow } from './orders.js'
import { price } from './pricing.js'
import type { Products } from './products.js'
import { ServiceAway } from './service-away.js'
import type { Users } from './users.js'

export interface PlaceOrderDeps {
  readonly database: Database
  readonly engine: SagaEngine
  readonly checkout: CheckoutDefinition
  readonly outbox: Pick<Outbox<SchemasOf<ShopEvents>>, 'publish' | 'wake'>
  readonly users: Users
  readonly products: Products
  readonly log: Log
  readonly tracer: Tracer
}

export interface PlaceOrderRequest {
  readonly userId: string
  /** The customer's Idempotency-Key. */
  readonly key: string
  readonly body: OrderRequest
}

/**
 * Takes an order, announces it and begins its checkout, in one transaction: either all of it is there or nothing. The same key with the
 * same body is answered with the order it made, also when the services that are asked here are away by then.
 */
export async function placeOrder(deps: PlaceOrderDeps, { userId, key, body }: PlaceOrderRequest): Promise<string> {
  const { database, engine, checkout, outbox } = deps
  const bodyHash = hashOf(body)
  const known = await findRequest(database, userId, key)
  if (known !== undefined) {
    if (await hasDeparted(database, userId)) throw accountGone()
    return sameOrder(known, bodyHash)
  }

  const { items, total, currency } = await quote(deps, userId, body)
  const { paymentMethod } = body
  const id = randomUUID()
  const createdAt = new Date().toISOString()

  const take = () =>
    database.transaction(async (tx) => {
      if (!(await insertRequest(tx, userId, key, { orderId: id, bodyHash }))) {
        return sameOrder((await findRequest(tx, userId, key))!, bodyHash) // the key is taken, so the row is there
      }

      const trace = presentTrace()
      const input = { orderId: id, userId, items: body.items, total, currency, paymentMethod, createdAt, trace }
      const { id: sagaId } = await engine.start(checkout, input, { key: id, tx })
      await insertOrder(tx, { id, sagaId, userId, paymentMethod, items, total, currency, createdAt })

      const event = { orderId: id, userId, items: body.items, total, currency, timestamp: createdAt }
      await outbox.publish(tx, 'order.created', event, { key: id })
      return id
    })
  const placed = await inSpan(deps.tracer, 'createOrder', {}, async (span) => {
    const orderId = await take()
    span.setAttribute('shop.order.id', orderId).addEvent('order_created')
    return orderId
  })
  outbox.wake()
  return placed
}

function sameOrder(known: OrderRequestRow, bodyHash: string): string {
  if (known.bodyHash === bodyHash) return known.orderId

  throw unprocessable('this Idempotency-Key was used for another order; take a new one')
}

async function quote({ users, products, log }: PlaceOrderDeps, userId: string, body: OrderRequest) {
  const ids = body.items.map((item) => item.productId)
  const [exists, catalogue] = await Promise.all([users.exists(userId), products.find(ids)]).catch((error: unknown) => {
    if (!(error instanceof ServiceAway)) throw error

    log.warn({ err: error }, 'an order could not be taken')
    throw unavailable(error.service, error.retryAfter)
  })
  if (!exists) throw accountGone()

  const priced = price(body.items, catalogue)
  if (!priced.ok) throw unprocessable(priced.because)

  return priced
}

function accountGone(): HttpProblem {
  return new HttpProblem({ status: 403, title: 'Forbidden', detail: 'your account is gone' })
}

function unprocessable(detail: string): HttpProblem {
  return new HttpProblem({ status: 422, title: 'Unprocessable Content', detail })
}
