// The checkout, one step per line of what happens to an order:
//
//   announce ─ open ─ reserve ─ authorise ─ CONFIRM ─ announce-confirmed ─ capture ─ commit-stock ─ ship
//                                           (pivot)
//
// Before the pivot everything can be undone, and is, from right to left: void the payment, release the stock, CANCELLED,
// and last of all order.cancelled, when all of it is true. After the pivot every step is tried until it is done.
// Reserve and authorise may have happened although nobody answered; their undoing therefore never assumes that they
// did not, and leaves something behind that refuses a request which is still on its way.

import type { Bus, SchemasOf } from '@msx/messaging'
import { exponential } from '@msx/retry'
import { NonRetryableError, StepRejectedError, saga } from '@msx/saga'
import type { OrderItem, ShopEvents } from '@shop/contracts'
import type { Database } from '@shop/platform'
import { cancelOrder, confirmOrder, findOrder, insertShipment } from './orders.js'
import { isRefusal, type Payments } from './payments.js'
import type { Products, ReservationAnswer } from './products.js'
import { reasonOf } from './reason.js'

export interface CheckoutInput {
  readonly orderId: string
  readonly userId: string
  readonly items: OrderItem[]
  readonly total: number
  readonly currency: string
  readonly paymentMethod: string
  readonly createdAt: string
}

export interface CheckoutParts {
  readonly database: Database
  readonly bus: Pick<Bus<SchemasOf<ShopEvents>>, 'publish'>
  readonly products: Products
  readonly payments: Payments
}

export type CheckoutDefinition = ReturnType<typeof checkoutSaga>

/** Milliseconds for one attempt of a step that asks another service; the clients give up before. */
const stepTimeout = 3_500

/** What has begun to be undone is undone, however long the other side is away. */
const undoUntilDone = {
  undoTimeout: stepTimeout,
  undoRetry: { attempts: Number.POSITIVE_INFINITY, backoff: exponential({ base: 100, max: 2_000 }) },
}

const untilDone = {
  timeout: stepTimeout,
  retry: { attempts: Number.POSITIVE_INFINITY, backoff: exponential({ base: 100, max: 5_000 }) },
}

export function checkoutSaga({ database, bus, products, payments }: CheckoutParts) {
  return saga<CheckoutInput>('checkout')
    .step(
      'announce',
      async ({ input, key }) => {
        const { orderId, userId, items, total, currency, createdAt } = input
        const event = { orderId, userId, items, total, currency, timestamp: createdAt }
        await bus.publish('order.created', event, { id: key, key: orderId })
      },
      {
        async compensate({ input, key, cause }) {
          // `open` has done this already, unless the saga never came so far.
          await cancelOrder(database, input.orderId, reasonOf(cause))
          await announceCancelled(input.orderId, key)
        },
        ...undoUntilDone,
      },
    )

    .txStep('open', () => undefined, {
      compensate: (tx, { input, cause }) => cancelOrder(tx, input.orderId, reasonOf(cause)),
      ...undoUntilDone,
    })

    .step(
      'reserve',
      async ({ input, attempt, signal }) => {
        const answer = await products.reserve(input.orderId, input.items, signal)
        if (answer.ok) return

        // A refusal speaks for its own attempt only. One before it may have reserved, so then the release is due too.
        throw attempt === 1 ? new StepRejectedError(answer.detail) : new NonRetryableError(answer.detail)
      },
      {
        retry: { attempts: 4, backoff: exponential({ base: 150, max: 1_000 }) },
        timeout: stepTimeout,
        compensate: async ({ input, signal }) => expectDone(await products.release(input.orderId, signal)),
        ...undoUntilDone,
      },
    )

    .step(
      'authorise',
      async ({ input, signal }) => {
        const { orderId, userId, total: amount, currency, paymentMethod } = input
        const payment = await payments
          .authorise({ orderId, userId, amount, currency, paymentMethod }, signal)
          .catch(finalIfRefused)

        if (payment.status === 'DECLINED') throw new StepRejectedError('the card was declined')
        if (payment.status === 'VOIDED') throw new StepRejectedError('the payment was called off')
        return { transactionId: payment.transactionId }
      },
      {
        retry: { attempts: 2, backoff: exponential({ base: 100, max: 300 }) },
        timeout: stepTimeout,
        async compensate({ input, signal }) {
          const payment = await payments.find(input.orderId, signal)
          if (payment?.status === 'VOIDED' || payment?.status === 'DECLINED') return

          // Also when nothing is known of it: the authorisation may still be on its way.
          await payments.void(input.orderId, signal).catch(finalIfRefused)
        },
        ...undoUntilDone,
      },
    )

    .txPivot('confirm', async (tx, { input }) => {
      if (!(await confirmOrder(tx, input.orderId))) throw new NonRetryableError('the order is no longer pending')
      return { confirmedAt: new Date().toISOString() }
    })

    .step(
      'announce-confirmed',
      async ({ input, results, key }) => {
        const { orderId, userId, total, currency } = input
        const event = { orderId, userId, total, currency, timestamp: results.confirm.confirmedAt }
        await bus.publish('order.confirmed', event, { id: key, key: orderId })
      },
      untilDone,
    )

    .step(
      'capture',
      async ({ input, signal }) => {
        await payments.capture(input.orderId, signal).catch(finalIfRefused)
      },
      untilDone,
    )

    .step(
      'commit-stock',
      async ({ input, signal }) => expectDone(await products.commit(input.orderId, signal)),
      untilDone,
    )

    .txStep('ship', (tx, { input }) => insertShipment(tx, input.orderId), untilDone)

    .returns(({ input }) => ({ orderId: input.orderId }))

  async function announceCancelled(orderId: string, id: string): Promise<void> {
    const order = await findOrder(database, orderId)
    if (order === undefined) throw new NonRetryableError(`order ${orderId} is not there`)

    const { userId, reason = 'cancelled', updatedAt } = order
    await bus.publish('order.cancelled', { orderId, userId, reason, timestamp: updatedAt }, { id, key: orderId })
  }
}

/** A refusal where none can be is for an operator to look at; asking again would get the same answer. */
function expectDone(answer: ReservationAnswer): void {
  if (!answer.ok) throw new NonRetryableError(answer.detail)
}

function finalIfRefused(error: unknown): never {
  if (isRefusal(error)) throw new NonRetryableError('the payment was refused', { cause: error })
  throw error
}
