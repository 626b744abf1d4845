import { type App, type Database, HttpProblem, readJson } from '@shop/platform'
import { z } from 'zod'

export interface Delivery {
  readonly productId: string
  readonly quantity: number
}

export type DeliveryOutcome = 'added' | 'repeated' | 'different' | 'unknown-product' | 'too-much'

/** What a warehouse takes of one product, so that a slip of the hand does not fill it. */
const mostAtOnce = 100_000

/** What `on_hand` can hold. */
const mostOnHand = 2 ** 31 - 1

/** Puts what was delivered on hand: once, however often the delivery is told. */
export async function receive(database: Database, id: string, delivery: Delivery): Promise<DeliveryOutcome> {
  const { productId, quantity } = delivery

  return database.transaction(async (tx) => {
    const { rows: known } = await tx.query<{ onHand: number }>(
      'SELECT on_hand AS "onHand" FROM products WHERE id = $1 FOR UPDATE',
      [productId],
    )
    if (known[0] === undefined) return 'unknown-product'
    if (known[0].onHand > mostOnHand - quantity) return 'too-much'

    const { rows: added } = await tx.query(
      'INSERT INTO deliveries (id, product_id, quantity) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING id',
      [id, productId, quantity],
    )
    if (added.length === 0) {
      const { rows } = await tx.query('SELECT 1 FROM deliveries WHERE id = $1 AND product_id = $2 AND quantity = $3', [
        id,
        productId,
        quantity,
      ])
      return rows.length > 0 ? 'repeated' : 'different'
    }

    await tx.query('UPDATE products SET on_hand = on_hand + $2 WHERE id = $1', [productId, quantity])
    return 'added'
  })
}

const body = z.strictObject({
  productId: z.string().min(1).max(100),
  quantity: z.int().min(1).max(mostAtOnce),
})

/** For whoever keeps the shelves full, who shows the operator's token. */
export function deliveryOperations(app: App, database: Database, token: string | undefined): void {
  // The token itself is asked for by the operations that every service has, on all that begins alike.
  if (token === undefined) return

  app.put('/internal/operations/deliveries/:id', async (context) => {
    const id = context.req.param('id')
    const delivery = await readJson(context, body)
    const outcome = await receive(database, id, delivery)

    switch (outcome) {
      case 'added':
        return context.json({ id, ...delivery }, 201)
      case 'repeated':
        return context.json({ id, ...delivery })
      case 'different':
        throw new HttpProblem({
          status: 409,
          title: 'Conflict',
          detail: `the delivery '${id}' came with other goods before; give this one another number`,
        })
      case 'unknown-product':
        throw unprocessable(`there is no product '${delivery.productId}'`)
      case 'too-much':
        throw unprocessable(`there is no room for ${delivery.quantity} more of '${delivery.productId}'`)
    }
  })
}

function unprocessable(detail: string): HttpProblem {
  return new HttpProblem({ status: 422, title: 'Unprocessable Content', detail })
}
