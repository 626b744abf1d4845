import type { Sql } from '@shop/platform'

export interface Product {
  readonly id: string
  readonly name: string
  /** In minor units of `currency`. */
  readonly price: number
  readonly currency: string
  readonly category: string
  /** What can still be bought: on hand and not reserved. */
  readonly stock: number
}

const select = 'SELECT id, name, price, currency, category, on_hand - reserved AS stock FROM products'

/** Products whose name or category contains `query`, in any case; all of them for an empty one. */
export async function searchProducts(sql: Sql, query: string): Promise<Product[]> {
  const { rows } = await sql.query<Product>(
    `${select} WHERE strpos(lower(name), lower($1)) > 0 OR strpos(category, lower($1)) > 0 ORDER BY name`,
    [query],
  )
  return rows
}

/** Those of the products that exist. */
export async function findProducts(sql: Sql, ids: readonly string[]): Promise<Product[]> {
  const { rows } = await sql.query<Product>(`${select} WHERE id = ANY($1::text[]) ORDER BY name`, [ids])
  return rows
}
