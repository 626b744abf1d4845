import { randomUUID } from 'node:crypto'
import { createBus } from '@msx/messaging'
import { shopEvents } from '@shop/contracts'
import type { Service, StopOptions } from '@shop/platform'
import { type TestDeps, testDeps } from '@shop/platform/testing'
import { vi } from 'vitest'
import { createOrderService, type OrderServiceOptions } from '../index.js'
import { type FakePayments, fakePayments } from './payment-service.js'
import { type FakeProducts, fakeProducts } from './product-service.js'
import { type FakeUsers, fakeUsers } from './user-service.js'

export interface Answer<T = Record<string, unknown>> {
  readonly status: number
  readonly headers: Headers
  readonly body: T
}

export interface OrderBody {
  readonly id: string
  readonly status: string
  readonly reason?: string
  readonly items: readonly { productId: string; quantity: number; price: number; name: string; fallback?: true }[]
  readonly total: number
}

export interface SagaBody {
  readonly status: string
  readonly steps: readonly { name: string; kind: string; outcome: string; attempt: number; reason?: string }[]
}

/** The order service on a real PostgreSQL, real sockets, and a shop of make-believe services around it. */
export interface World {
  readonly deps: TestDeps
  readonly products: FakeProducts
  readonly users: FakeUsers
  readonly payments: FakePayments
  /** Everything that was published, in order. */
  readonly events: { readonly id: string; readonly type: string; readonly data: Record<string, unknown> }[]
  readonly url: string
  /** With another transport, the service is alone on it; with instruments of its own it is as in another process. */
  start(own?: Partial<Pick<OrderServiceOptions, 'transport' | 'instruments' | 'undoAttempts'>>): Promise<void>
  stop(how?: StopOptions): Promise<void>
  request<T = Record<string, unknown>>(method: string, path: string, init?: RequestOptions): Promise<Answer<T>>
  order(options?: OrderOptions): Promise<Answer>
  /** Places an order and answers its id. */
  placed(options?: OrderOptions): Promise<string>
  read(id: string): Promise<OrderBody>
  saga(id: string): Promise<SagaBody>
  /** Waits until the order is no longer PENDING and its checkout has come to an end. */
  ended(id: string, timeout?: number): Promise<OrderBody>
  eventsOf(orderId: string): string[]
  /** Somebody deletes the account; resolves when everybody has heard of it. */
  depart(userId: string, tokensExpire?: Date): Promise<void>
  /** Names of the steps as they went, `-name` for one undone, `!name` for one that failed. */
  path(id: string): Promise<string[]>
  close(): Promise<void>
}

export interface RequestOptions {
  readonly userId?: string | undefined
  readonly headers?: Record<string, string> | undefined
  readonly body?: unknown
}

export interface OrderOptions {
  readonly items?: readonly unknown[] | undefined
  readonly paymentMethod?: string | undefined
  readonly userId?: string | undefined
  readonly key?: string | undefined
}

export const ada = 'user-ada'

export async function createWorld(): Promise<World> {
  const [products, users, payments] = await Promise.all([fakeProducts(), fakeUsers(), fakePayments()])
  const deps = await testDeps({
    role: 'order_service',
    schemas: ['order_service_saga'],
    services: {
      'product-service': [products.url],
      'user-service': [users.url],
      'payment-service': [payments.url],
    },
  })
  const events: World['events'] = []
  const witness = createBus({ events: shopEvents, transport: deps.transport, source: 'witness' })
  witness.subscribe('witness', '#', async (message) => {
    events.push({ id: message.id, type: message.type, data: message.data })
  })
  await witness.start()

  let service: Service | undefined
  let url = ''

  const world: World = {
    deps,
    products,
    users,
    payments,
    events,
    get url() {
      return url
    },

    async start(own = {}) {
      service = createOrderService({ ...deps, ...own })
      url = (await service.start()).url
    },
    async stop(how) {
      await service?.stop(how)
      service = undefined
    },

    async request<T>(method: string, path: string, { userId = ada, headers, body }: RequestOptions = {}) {
      const response = await fetch(url + path, {
        method,
        headers: {
          ...(userId !== '' && { 'x-user-id': userId }),
          ...(body !== undefined && { 'content-type': 'application/json' }),
          ...headers,
        },
        body: body === undefined ? null : JSON.stringify(body),
      })
      return { status: response.status, headers: response.headers, body: (await response.json()) as T }
    },

    order: ({ items, paymentMethod, userId, key } = {}) =>
      world.request('POST', '/api/orders', {
        userId,
        headers: { 'idempotency-key': key ?? randomUUID() },
        body: { items: items ?? [{ productId: 'cup', quantity: 2 }], paymentMethod: paymentMethod ?? 'card-ok' },
      }),

    async placed(options) {
      const { status, body } = await world.order(options)
      if (status !== 202) throw new Error(`the order was answered with ${status}: ${JSON.stringify(body)}`)
      return body['id'] as string
    },

    read: async (id) => (await world.request<OrderBody>('GET', `/api/orders/${id}`)).body,
    saga: async (id) => (await world.request<SagaBody>('GET', `/api/orders/${id}/saga`)).body,

    async ended(id, timeout = 3_000) {
      return vi.waitFor(
        async () => {
          const [order, saga] = [await world.read(id), await world.saga(id)]
          if (order.status === 'PENDING' || /running|compensating/.test(saga.status)) {
            throw new Error(`order ${id} is ${order.status}: ${JSON.stringify(saga)}`)
          }
          return order
        },
        { timeout, interval: 25 },
      )
    },

    eventsOf: (orderId) => events.filter((event) => event.data['orderId'] === orderId).map((event) => event.type),

    async depart(userId, tokensExpire) {
      users.ids.delete(userId)
      const timestamp = new Date().toISOString()
      const until = tokensExpire === undefined ? {} : { tokensExpire: tokensExpire.toISOString() }
      await witness.publish('user.deleted', { userId, timestamp, ...until })
      await deps.transport.drain()
    },

    async path(id) {
      const { steps } = await world.saga(id)
      return steps.map(({ name, kind, outcome }) => {
        const sign = outcome === 'ok' ? '' : '!'
        return `${sign}${kind === 'undo' ? '-' : ''}${name}`
      })
    },

    async close() {
      await world.stop()
      await witness.close()
      payments.close()
      await Promise.all([products.goAway(), users.goAway()])
      await deps.close()
    },
  }

  world.users.ids.add(ada)
  await world.start()
  return world
}

/** Every test sells from a full shelf, and everybody is there. */
export async function refill(world: World): Promise<void> {
  const { products, users, payments } = world
  await Promise.all([products.comeBack(), users.comeBack()])
  products.before = () => undefined
  payments.before = () => undefined
  products.asked.length = 0
  payments.asked.length = 0
  products.products.clear()
  for (const [id, price] of [
    ['cup', 1_250],
    ['pot', 8_900],
  ] as const) {
    products.products.set(id, { id, name: `The ${id}`, price, currency: 'EUR', stock: 100 })
  }
}
