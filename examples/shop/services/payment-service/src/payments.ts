import type { Payment } from '@shop/contracts'
import { cards } from './cards.js'
import type { UnaryCall, UnaryHandler } from './grpc.js'
import { Refusal } from './refusal.js'
import { authorizeRequest, orderReference, parse } from './requests.js'
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

    async GetPayment(message) {
      const { orderId } = parse(orderReference, message)
      const transaction = await transactions.find(orderId)
      if (transaction === undefined) throw new Refusal('NOT_FOUND', `there is no payment for order ${orderId}`)

      return paymentOf(transaction)
    },
  }
}

function answers(transaction: Transaction): boolean {
  return transaction.paymentMethod === undefined || cards[transaction.paymentMethod].answers
}

/** Never resolves; rejects when the caller's patience ends or the server stops. */
function silence({ signal, stopping }: UnaryCall): Promise<never> {
  return new Promise((_, reject) => {
    const end = () => {
      signal.removeEventListener('abort', end)
      stopping.removeEventListener('abort', end)
      reject(signal.aborted ? signal.reason : stopping.reason)
    }
    if (signal.aborted || stopping.aborted) return end()

    signal.addEventListener('abort', end)
    stopping.addEventListener('abort', end)
  })
}

function paymentOf({ transactionId, orderId, status, amount, currency }: Transaction): Payment {
  return { transactionId, orderId, status, amount, currency }
}
