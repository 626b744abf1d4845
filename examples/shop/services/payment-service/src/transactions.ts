import type { Payment, PaymentStatus } from '@shop/contracts'
import type { Database, Sql } from '@shop/platform'
import { cards, isPaymentMethod, type PaymentMethod } from './cards.js'
import { type Decision, decideCapture, decideRefund, decideVoid } from './decide.js'
import { cardOf, type PaymentWish, refuseUnlessOwed } from './known-orders.js'
import { Refusal } from './refusal.js'
import type { Authorization } from './requests.js'

/** A stored transaction. A tombstone, voided before anything was authorised, has no method and an amount of 0. */
export interface Transaction extends Payment {
  readonly userId: string | undefined
  readonly paymentMethod: PaymentMethod | undefined
}

export interface LedgerEntry {
  readonly entry: 'authorise' | 'capture' | 'void' | 'refund'
  readonly amount: number
  readonly currency: string
  readonly at: string
}

/** The transactions and their ledger. Every command can be repeated, and repeated at the same moment. */
export interface Transactions {
  /** An aborted `signal` keeps what is not yet committed from being committed. */
  authorise(request: Authorization, signal: AbortSignal): Promise<Transaction>
  capture(orderId: string): Promise<Transaction>
  void(orderId: string): Promise<Transaction>
  refund(orderId: string): Promise<Transaction>
  /** Pays a customer's own order, unless it has a transaction already: then that is the answer. */
  pay(wish: PaymentWish): Promise<Transaction>
  /** In the transaction of whoever heard that the order was cancelled: what is still reserved for it is given back. */
  giveBack(tx: Pick<Sql, 'query'>, orderId: string): Promise<void>
  find(orderId: string): Promise<Transaction | undefined>
  ledger(orderId: string): Promise<LedgerEntry[]>
}

type Queries = Pick<Sql, 'query'>

export function createTransactions(database: Database): Transactions {
  return {
    authorise: (request, signal) =>
      database.transaction(async (tx) => {
        signal.throwIfAborted()
        const created = await insert(tx, request)
        if (created === undefined) return agreeing(await locked(tx, request.orderId), request)

        if (created.status === 'AUTHORISED') await record(tx, created, 'authorise')
        signal.throwIfAborted()
        return created
      }),

    capture: (orderId) =>
      database.transaction(async (tx) => {
        const transaction = await locked(tx, orderId)
        return apply(tx, transaction, decideCapture(transaction.status))
      }),

    void: (orderId) =>
      database.transaction(async (tx) => {
        const tombstone = await insertTombstone(tx, orderId)
        if (tombstone !== undefined) return tombstone

        const transaction = await locked(tx, orderId)
        return apply(tx, transaction, decideVoid(transaction.status))
      }),

    refund: (orderId) =>
      database.transaction(async (tx) => {
        const transaction = await locked(tx, orderId)
        return apply(tx, transaction, decideRefund(transaction.status))
      }),

    pay: (wish) =>
      database.transaction(async (tx) => {
        await refuseUnlessOwed(tx, wish)
        const paymentMethod = await cardOf(tx, wish.userId)
        if (!isPaymentMethod(paymentMethod)) throw new Error(`'${paymentMethod}' is no payment method`)

        const created = await insert(tx, { ...wish, paymentMethod })
        if (created === undefined) return agreeing(await locked(tx, wish.orderId), wish)
        if (created.status === 'AUTHORISED') await record(tx, created, 'authorise')
        return created
      }),

    async giveBack(tx, orderId) {
      const { rows } = await tx.query<Row>('SELECT * FROM transactions WHERE order_id = $1 FOR UPDATE', [orderId])
      const transaction = rows[0] && transactionOf(rows[0])
      if (transaction?.status === 'AUTHORISED') await apply(tx, transaction, decideVoid('AUTHORISED'))
    },

    async find(orderId) {
      const { rows } = await database.query<Row>('SELECT * FROM transactions WHERE order_id = $1', [orderId])
      return rows[0] && transactionOf(rows[0])
    },

    async ledger(orderId) {
      const { rows } = await database.query<LedgerRow>(
        'SELECT entry, amount, currency, at FROM payment_ledger WHERE order_id = $1 ORDER BY id',
        [orderId],
      )
      return rows.map((row) => ({ ...row, amount: Number(row.amount), at: new Date(row.at).toISOString() }))
    },
  }
}

/**
 * Undefined when the order has a transaction already. The conflict waits for whoever is inserting the same order, so of
 * two at once exactly one charges and the other then sees the committed row.
 */
async function insert(tx: Queries, request: Authorization): Promise<Transaction | undefined> {
  const { rows } = await tx.query<Row>(
    `INSERT INTO transactions (order_id, status, user_id, amount, currency, payment_method)
     VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (order_id) DO NOTHING RETURNING *`,
    [
      request.orderId,
      cards[request.paymentMethod].outcome,
      request.userId,
      request.amount,
      request.currency,
      request.paymentMethod,
    ],
  )
  return rows[0] && transactionOf(rows[0])
}

async function insertTombstone(tx: Queries, orderId: string): Promise<Transaction | undefined> {
  const { rows } = await tx.query<Row>(
    `INSERT INTO transactions (order_id, status) VALUES ($1, 'VOIDED')
     ON CONFLICT (order_id) DO NOTHING RETURNING *`,
    [orderId],
  )
  return rows[0] && transactionOf(rows[0])
}

async function locked(tx: Queries, orderId: string): Promise<Transaction> {
  const { rows } = await tx.query<Row>('SELECT * FROM transactions WHERE order_id = $1 FOR UPDATE', [orderId])
  if (rows[0] === undefined) throw new Refusal('NOT_FOUND', `there is no payment for order ${orderId}`)

  return transactionOf(rows[0])
}

/** The stored transaction answers a repeated request, but not one that means other money. */
function agreeing(stored: Transaction, request: PaymentWish): Transaction {
  if (stored.paymentMethod === undefined) return stored

  const differing = (['userId', 'amount', 'currency'] as const).find((field) => stored[field] !== request[field])
  if (differing === undefined) return stored

  throw new Refusal('ALREADY_EXISTS', `order ${request.orderId} has a payment with another ${differing}`)
}

async function apply(tx: Queries, transaction: Transaction, decision: Decision): Promise<Transaction> {
  switch (decision.do) {
    case 'keep':
      return transaction
    case 'refuse':
      throw new Refusal('FAILED_PRECONDITION', `order ${transaction.orderId}: ${decision.because}`)
    case 'move':
      await tx.query('UPDATE transactions SET status = $2, updated_at = now() WHERE order_id = $1', [
        transaction.orderId,
        decision.to,
      ])
      await record(tx, transaction, decision.entry)
      return { ...transaction, status: decision.to }
  }
}

async function record(tx: Queries, transaction: Transaction, entry: LedgerEntry['entry']): Promise<void> {
  await tx.query('INSERT INTO payment_ledger (order_id, entry, amount, currency) VALUES ($1, $2, $3, $4)', [
    transaction.orderId,
    entry,
    transaction.amount,
    transaction.currency,
  ])
}

interface Row {
  readonly order_id: string
  readonly id: string
  readonly status: PaymentStatus
  readonly user_id: string | null
  /** A 64-bit integer: a number, a bigint or a string, as the driver has it. */
  readonly amount: number | bigint | string | null
  readonly currency: string | null
  readonly payment_method: PaymentMethod | null
}

interface LedgerRow {
  readonly entry: LedgerEntry['entry']
  readonly amount: number | bigint | string
  readonly currency: string
  readonly at: string | Date
}

function transactionOf(row: Row): Transaction {
  return {
    transactionId: row.id,
    orderId: row.order_id,
    status: row.status,
    userId: row.user_id ?? undefined,
    amount: Number(row.amount ?? 0),
    currency: row.currency ?? '',
    paymentMethod: row.payment_method ?? undefined,
  }
}
