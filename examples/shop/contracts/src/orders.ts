import { z } from 'zod'

/** The shop sells in one currency; amounts are whole minor units (cents) everywhere. */
export const currency = 'EUR'

/** What one line of an order may ask for. */
export const maxQuantity = 1_000

/** How an order may be paid. The names say what the (make-believe) card network will do. */
export const paymentMethods = ['card-ok', 'card-declined', 'card-timeout-after-charge'] as const

export const orderItem = z.object({
  productId: z.string().min(1).max(100),
  quantity: z.int().min(1).max(maxQuantity),
})

export type OrderItem = z.infer<typeof orderItem>
