import { scryptSync } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { hashPassword, verifyPassword } from './passwords.js'

/** Less than what a hash costs otherwise. */
const quick = { N: 2 ** 10, r: 8, p: 1 }

describe('passwords', () => {
  it('are hashed at the full cost unless told otherwise', async () => {
    expect(await hashPassword('open sesame')).toMatch(/^scrypt\$16384\$8\$5\$/)
  })

  it('knows the password again, and no other', async () => {
    const stored = await hashPassword('open sesame', quick)

    expect(await verifyPassword('open sesame', stored)).toBe(true)
    expect(await verifyPassword('open sesamf', stored)).toBe(false)
  })

  it('salts: the same password never looks the same', async () => {
    expect(await hashPassword('open sesame', quick)).not.toBe(await hashPassword('open sesame', quick))
  })

  it('checks a hash with the parameters it was made with', async () => {
    const salt = Buffer.from('0123456789abcdef')
    const hash = scryptSync('open sesame', salt, 64, { N: 1024, r: 4, p: 2 })
    const stored = `scrypt$1024$4$2$${salt.toString('base64url')}$${hash.toString('base64url')}`

    expect(await verifyPassword('open sesame', stored)).toBe(true)
  })

  it('takes the same characters in another encoding for the same', async () => {
    const stored = await hashPassword('caf\u00e9 noir', quick)

    expect(await verifyPassword('cafe\u0301 noir', stored)).toBe(true)
  })

  it('does not take a damaged hash for a wrong password', async () => {
    await expect(verifyPassword('open sesame', 'plain$sesame')).rejects.toThrow(/scrypt\$N\$r\$p/)
  })
})
