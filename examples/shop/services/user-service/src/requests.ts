import { z } from 'zod'

const email = z.string().trim().toLowerCase().max(254).pipe(z.email())
/** Half of a surrogate pair is no character: it would be stored as another one. */
const text = z.string().refine((value) => !/\p{Surrogate}/u.test(value), { message: 'there is half a character in it' })

const name = text.trim().min(1).max(200)

/** Counted in characters as people count them: one emoji is one character, whatever its encoding takes. */
const password = text.refine((text) => length(text) >= 8 && length(text) <= 128, {
  message: 'a password has at least 8 and at most 128 characters',
})

export const registration = z.object({ email, name, password })

/**
 * Anything may be tried as a password, and as an address too: whether it could belong to an account is not told here.
 */
export const credentials = z.object({ email: z.string().trim().toLowerCase(), password: z.string() })

export const changes = z.strictObject({
  name: name.optional(),
  preferences: z
    .strictObject({ email: z.boolean().optional(), sms: z.boolean().optional(), push: z.boolean().optional() })
    .optional(),
})

function length(text: string): number {
  return [...text.normalize('NFC')].length
}
