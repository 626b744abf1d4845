import type { OrderItem } from '@shop/contracts'
import type { Product } from './products.js'

export interface PricedItem extends OrderItem {
  readonly name: string
  /** Of one piece, in minor units. */
  readonly price: number
}

export type Priced =
  | {
      readonly ok: true
      readonly items: readonly PricedItem[]
      readonly total: number
      readonly currency: string
    }
  | { readonly ok: false; readonly because: string }

/** What the items cost by the catalogue's word, or why they cannot be sold together. */
export function price(items: readonly OrderItem[], catalogue: readonly Product[]): Priced {
  const products = new Map(catalogue.map((product) => [product.id, product]))
  const priced: PricedItem[] = []
  const currencies = new Set<string>()
  let total = 0n

  for (const { productId, quantity } of items) {
    const product = products.get(productId)
    if (product === undefined) return { ok: false, because: `there is no product '${productId}'` }

    currencies.add(product.currency)
    total += BigInt(product.price) * BigInt(quantity)
    priced.push({ productId, quantity, name: product.name, price: product.price })
  }

  const [currency] = currencies
  if (currency === undefined || currencies.size > 1) {
    return { ok: false, because: `an order is paid in one currency, not in ${[...currencies].join(' and ')}` }
  }
  if (total > BigInt(Number.MAX_SAFE_INTEGER)) return { ok: false, because: 'the total is more than can be charged' }
  if (total === 0n) return { ok: false, because: 'there is nothing to pay' }

  return { ok: true, items: priced, total: Number(total), currency }
}
