import type { Payment } from '@shop/contracts'
import { cards } from './cards.js'
import { silence, type UnaryHandler } from './grpc.js'
import { Refusal } from './refusal.js'
import { authorizeRequest, orderReference, parse, processRequest } from './requests.js'
import type { Transaction, Transactions } from './transactions.js'

/** The methods of payment.proto. */
export function paymentMethodsOf(transactions: Transactions): Readonly<Record<string, UnaryHandler>> {
  return {
    async Authorize(message, call) {
      const transaction = await transactions.authorise(parse(authorizeRequest, message), call.signal)
      if (transaction.status === 'AUTHORISED' && !answers(transaction)) await silence(call)

      return paymentOf(transaction)
    },

    async Capture(message) {
      return paymentOf(await transactions.capture(parse(orderReference, message).orderId))
    },

    async Void(message) {
      return paymentOf(await transactions.void(parse(orderReference, message).orderId))
    },

    async Refund(message) {
      return paymentOf(await transactions.refund(parse(orderReference, message).orderId))
    },

    ProcessPayment(message, { metadata }) {
      return pay(transactions, message, metadata.get('x-user-id')[0]?.toString())
    },

    async GetPayment(message) {
      const { orderId } = parse(orderReference, message)
      const transaction = await transactions.find(orderId)
      if (transaction === undefined) throw new Refusal('NOT_FOUND', `there is no payment for order ${orderId}`)

      return paymentOf(transaction)
    },
  }
}

/** Pays an order of the customer's own, whom the gateway let in. */
export async function pay(
  transactions: Transactions,
  message: unknown,
  userId: string | undefined,
): Promise<Pick<Payment, 'transactionId' | 'status'>> {
  if (userId === undefined || userId === '') throw new Refusal('UNAUTHENTICATED', 'x-user-id is missing: who pays?')

  const { transactionId, status } = await transactions.pay({ ...parse(processRequest, message), userId })
  if (status === 'VOIDED') throw new Refusal('FAILED_PRECONDITION', 'the payment was called off')
  return { transactionId, status }
}

function answers(transaction: Transaction): boolean {
  return transaction.paymentMethod === undefined || cards[transaction.paymentMethod].answers
}

function paymentOf({ transactionId, orderId, status, amount, currency }: Transaction): Payment {
  return { transactionId, orderId, status, amount, currency }
}
