import { z } from 'zod'
import { isPaymentMethod } from './cards.js'
import { Refusal } from './refusal.js'

/** Ids are opaque here, but what cannot be seen is no part of one. */
const id = z.string().regex(/^[\x21-\x7e]{1,100}$/, 'expected 1 to 100 visible ASCII characters')

export const orderReference = z.object({ orderId: id })

export const authorizeRequest = z.object({
  orderId: id,
  userId: id,
  amount: z.int().positive(),
  currency: z.string().regex(/^[A-Z]{3}$/, 'expected three capital letters'),
  paymentMethod: z.string().refine(isPaymentMethod, 'unknown payment method'),
})

export const processRequest = authorizeRequest.pick({ orderId: true, amount: true, currency: true })

export type Authorization = z.infer<typeof authorizeRequest>

/** The message as the schema understands it, or INVALID_ARGUMENT that names each field at fault. */
export function parse<S extends z.ZodType>(schema: S, message: unknown): z.output<S> {
  const parsed = schema.safeParse(message)
  if (parsed.success) return parsed.data

  const faults = parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`)
  throw new Refusal('INVALID_ARGUMENT', faults.join('; '))
}
