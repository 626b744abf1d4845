import fc from 'fast-check'
import { expect, test } from 'vitest'
import { price } from './pricing.js'

const line = fc.record({
  price: fc.nat({ max: Number.MAX_SAFE_INTEGER }),
  quantity: fc.integer({ min: 1, max: 1_000 }),
})

test('a total is exact, or the order is refused', () => {
  fc.assert(
    fc.property(fc.array(line, { minLength: 1, maxLength: 20 }), (lines) => {
      const items = lines.map(({ quantity }, i) => ({ productId: `p${i}`, quantity }))
      const catalogue = lines.map((each, i) => ({ id: `p${i}`, name: `P${i}`, price: each.price, currency: 'EUR' }))
      const exact = lines.reduce((sum, each) => sum + BigInt(each.price) * BigInt(each.quantity), 0n)

      const priced = price(items, catalogue)

      const chargeable = exact > 0n && exact <= BigInt(Number.MAX_SAFE_INTEGER)
      expect(priced.ok).toBe(chargeable)
      if (priced.ok) expect(BigInt(priced.total)).toBe(exact)
    }),
  )
})
