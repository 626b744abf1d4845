import { createHash } from 'node:crypto'
import { maxQuantity, type OrderItem, orderItem, paymentMethods } from '@shop/contracts'
import { z } from 'zod'

const maxLines = 50

/** The lines of an order with a product that is named twice added up, in the order of their ids. */
function merged(items: readonly OrderItem[]): OrderItem[] {
  const quantities = new Map<string, number>()
  for (const { productId, quantity } of items) quantities.set(productId, (quantities.get(productId) ?? 0) + quantity)

  return [...quantities.keys()].sort().map((productId) => ({ productId, quantity: quantities.get(productId)! }))
}

/** What POST /api/orders takes, in the one form that all bodies of the same meaning have. */
export const orderRequest = z.object({
  items: z
    .array(orderItem)
    .min(1)
    .max(maxLines)
    .transform(merged)
    .superRefine((items, context) => {
      const tooMany = items.find((item) => item.quantity > maxQuantity)
      if (tooMany === undefined) return

      const message = `${tooMany.quantity} of '${tooMany.productId}' in all; an order takes at most ${maxQuantity}`
      context.addIssue({ code: 'custom', message })
    }),
  paymentMethod: z.enum(paymentMethods),
})

export type OrderRequest = z.output<typeof orderRequest>

/** The same for two requests that ask for the same. */
export function hashOf({ items, paymentMethod }: OrderRequest): string {
  const canonical = [paymentMethod, items.map(({ productId, quantity }) => [productId, quantity])]
  return createHash('sha256').update(JSON.stringify(canonical)).digest('hex')
}
