// The checkout, one step per line of what happens to an order:
//
//   open ─ reserve ─ authorise ─ CONFIRM ─ capture ─ commit-stock ─ ship
//                                (pivot)
//
// Before the pivot everything can be undone, and is, from right to left: void the payment, release the stock, and last of
// all CANCELLED, when all of it is true. After the pivot every step is tried until it is done. What changes the order's
// status writes the event that tells of it into the outbox, in the same transaction as the saga's own progress.
// Reserve and authorise may have happened although nobody answered; their undoing therefore never assumes that they
// did not, and leaves something behind that refuses a request which is still on its way.

import type { SchemasOf } from '@msx/messaging'
import type { Outbox } from '@msx/messaging/postgres'
import { exponential, type Outcome } from '@msx/retry'
import { NonRetryableError, StepRejectedError, saga } from '@msx/saga'
import type { OrderItem, ShopEvents } from '@shop/contracts'
import type { TraceContext } from '@shop/platform'
import { cancelOrder, confirmOrder, insertShipment } from './orders.js'
import { isRefusal, type Payments } from './payments.js'
import type { Products, ReservationAnswer } from './products.js'
import { reasonOf } from './reason.js'
import { ServiceAway } from './service-away.js'

export interface CheckoutInput {
  readonly orderId: string
  readonly userId: string
  readonly items: OrderItem[]
  readonly total: number
  readonly currency: string
  readonly paymentMethod: string
  readonly createdAt: string
  /** The span that took the order. A checkout that an older version began has none. */
  readonly trace?: TraceContext | undefined
}

export interface CheckoutParts {
  readonly outbox: Pick<Outbox<SchemasOf<ShopEvents>>, 'publish'>
  readonly products: Products
  readonly payments: Payments
  /** Default: without end. */
  readonly undoAttempts?: number | undefined
}

export type CheckoutDefinition = ReturnType<typeof checkoutSaga>

/** Milliseconds for one attempt of a step that asks another service; the clients give up before. */
const stepTimeout = 3_500

const untilDone = {
  timeout: stepTimeout,
  retry: { attempts: Number.POSITIVE_INFINITY, backoff: exponential({ base: 100, max: 5_000 }) },
}

/**
 * A service that was killed is back, and known to be where it is now, after two seconds or three. What nobody pays for is
 * tried for as long as that: the pauses take 1.9 to 3.8 seconds in all.
 */
const outlivingRestart = { attempts: 6, backoff: exponential({ base: 250, max: 1_000, jitter: 'equal' }) }

export function checkoutSaga({ outbox, products, payments, undoAttempts }: CheckoutParts) {
  /** What has begun to be undone is undone, however long the other side is away, unless there is a limit. */
  const undoUntilDone = {
    undoTimeout: stepTimeout,
    undoRetry: { attempts: undoAttempts ?? Number.POSITIVE_INFINITY, backoff: exponential({ base: 100, max: 2_000 }) },
  }

  return saga<CheckoutInput>('checkout', { version: 2 })
    .txStep('open', () => undefined, {
      async compensate(tx, { input, cause }) {
        const { orderId, userId } = input
        const cancelled = await cancelOrder(tx, orderId, reasonOf(cause))
        const event = { orderId, userId, reason: cancelled.reason, timestamp: cancelled.at }
        await outbox.publish(tx, 'order.cancelled', event, { key: orderId })
      },
      ...undoUntilDone,
    })

    .step(
      'reserve',
      async ({ input, attempt, signal }) => {
        const answer = await products.reserve(input, signal)
        if (answer.ok) return

        throw refusedAt(attempt, answer.detail)
      },
      {
        retry: outlivingRestart,
        timeout: stepTimeout,
        compensate: async ({ input, signal }) => expectDone(await products.release(input.orderId, signal)),
        ...undoUntilDone,
      },
    )

    .step(
      'authorise',
      async ({ input, attempt, signal }) => {
        const { orderId, userId, total: amount, currency, paymentMethod } = input
        // Goods whose time is up are not paid for; from here on they are kept until this checkout has ended.
        const kept = await products.secure(orderId, signal).catch(notKept)
        if (!kept.ok) throw refusedAt(attempt, kept.detail)

        const payment = await payments
          .authorise({ orderId, userId, amount, currency, paymentMethod }, signal)
          .catch(finalIfRefused)

        if (payment.status === 'DECLINED') throw new StepRejectedError('the card was declined')
        if (payment.status === 'VOIDED') throw new StepRejectedError('the payment was called off')
        return { transactionId: payment.transactionId }
      },
      {
        // The money is asked for twice at most, since nobody knows for so long whether it was taken.
        retry: { ...outlivingRestart, shouldRetry: (outcome, attempt) => attempt < 2 || isAway(outcome) },
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
      const { orderId, userId, total, currency } = input
      const confirmedAt = await confirmOrder(tx, orderId)
      if (confirmedAt === undefined) throw new NonRetryableError('the order is no longer pending')

      const event = { orderId, userId, total, currency, timestamp: confirmedAt }
      await outbox.publish(tx, 'order.confirmed', event, { key: orderId })
    })

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
}

/** A refusal where none can be is for an operator to look at; asking again would get the same answer. */
function expectDone(answer: ReservationAnswer): void {
  if (!answer.ok) throw new NonRetryableError(answer.detail)
}

/** A refusal speaks for its own attempt only. One before it may have had its effect, so then the undoing is due too. */
function refusedAt(attempt: number, detail: string): Error {
  return attempt === 1 ? new StepRejectedError(detail) : new NonRetryableError(detail)
}

function notKept(error: unknown): never {
  throw new ServiceAway('product-service', error)
}

function isAway(outcome: Outcome): boolean {
  return !outcome.ok && outcome.error instanceof ServiceAway
}

function finalIfRefused(error: unknown): never {
  if (isRefusal(error)) throw new NonRetryableError('the payment was refused', { cause: error })
  throw error
}
