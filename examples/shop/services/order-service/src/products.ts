import type { Discovery } from '@msx/discovery'
import type { OrderItem } from '@shop/contracts'
import { type Instruments, inSpan, serviceClient, type TraceContext } from '@shop/platform'
import { z } from 'zod'
import { describe, ServiceAway } from './service-away.js'

const products = z.object({
  items: z.array(
    z.object({
      id: z.string(),
      name: z.string(),
      price: z.int().nonnegative(),
      currency: z.string(),
    }),
  ),
})

export type Product = z.infer<typeof products>['items'][number]

/** What is to be kept for an order, and the span that asks for it, if that was written down. */
export interface ReservationRequest {
  readonly orderId: string
  readonly items: readonly OrderItem[]
  readonly trace?: TraceContext | undefined
}

/** How a command on a reservation ended. What is not listed here is thrown: nobody knows how it ended. */
export type ReservationAnswer =
  | { readonly ok: true }
  /** `reason` is product-service's word for programs, `detail` its words for people. */
  | { readonly ok: false; readonly status: number; readonly reason: string | undefined; readonly detail: string }

/** product-service, as an order needs it. */
export interface Products {
  /** Those of the products that exist. Rejects with ServiceAway. */
  find(ids: readonly string[]): Promise<Product[]>
  /** Their names by id; what is not answered soon is left out. */
  names(ids: readonly string[]): Promise<ReadonlyMap<string, string>>
  reserve(request: ReservationRequest, signal: AbortSignal): Promise<ReservationAnswer>
  /** Takes away the time limit of the reservation. */
  secure(orderId: string, signal: AbortSignal): Promise<ReservationAnswer>
  release(orderId: string, signal: AbortSignal): Promise<ReservationAnswer>
  commit(orderId: string, signal: AbortSignal): Promise<ReservationAnswer>
}

/** Nothing else can be an id; asking for it would only make the address longer. */
const possibleId = /^[\w.~-]+$/

export function createProducts(discovery: Discovery, instruments: Instruments): Products {
  const service = 'product-service'
  const client = { discovery, instruments, service }
  const catalogue = serviceClient({ ...client, name: 'catalogue', attempts: 2 })
  // An order is shown without the newest names rather than late.
  const decoration = serviceClient({ ...client, name: 'names', attempts: 1, timeout: 400 })
  // The saga repeats its steps itself; retries on two floors would multiply.
  const commands = serviceClient({ ...client, name: 'reservations', attempts: 1, timeout: 2_000 })

  async function find(client: typeof catalogue, ids: readonly string[]): Promise<Product[]> {
    const possible = ids.filter((id) => possibleId.test(id))
    if (possible.length === 0) return []

    try {
      const response = await client.fetch(`/internal/products?ids=${possible.join(',')}`)
      if (!response.ok) throw new Error(await describe(response))
      return products.parse(await response.json()).items
    } catch (error) {
      throw new ServiceAway(service, error)
    }
  }

  async function command(
    method: string,
    path: string,
    signal: AbortSignal,
    body?: unknown,
  ): Promise<ReservationAnswer> {
    const response = await commands.fetch(`/internal/reservations/${path}`, {
      method,
      signal,
      ...(body !== undefined && { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
    })
    if (response.ok) {
      await response.body?.cancel()
      return { ok: true }
    }
    if (response.status >= 500 || response.status === 429) throw new Error(await describe(response))

    const problem = z
      .object({ reason: z.string().optional(), detail: z.string() })
      .catch({ detail: `product-service answered ${response.status}` })
      .parse(await response.json().catch(() => undefined))
    return { ok: false, status: response.status, reason: problem.reason, detail: problem.detail }
  }

  return {
    find: (ids) => find(catalogue, ids),
    async names(ids) {
      const found = await find(decoration, ids).catch(() => [])
      return new Map(found.map((product) => [product.id, product.name]))
    },
    reserve: ({ orderId, items, trace }, signal) =>
      inSpan(instruments.spans.tracer, 'reserveInventory', { below: trace }, () =>
        command('PUT', orderId, signal, { items }),
      ),
    secure: (orderId, signal) => command('POST', `${orderId}/secure`, signal),
    release: (orderId, signal) => command('DELETE', orderId, signal),
    commit: (orderId, signal) => command('POST', `${orderId}/commit`, signal),
  }
}
