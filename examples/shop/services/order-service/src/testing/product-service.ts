import { createApp, createLog, HttpProblem, type Listening, listen } from '@shop/platform'

interface Product {
  readonly id: string
  name: string
  price: number
  currency: string
  stock: number
}

interface Reservation {
  status: 'reserved' | 'released' | 'committed'
  items: readonly { productId: string; quantity: number }[]
}

/** As much of product-service as an order meets, in memory. */
export interface FakeProducts {
  readonly url: string
  readonly products: Map<string, Product>
  readonly reservations: Map<string, Reservation>
  /** What was asked of it: `PUT`, `DELETE`, `secure`, `commit`, `GET`. */
  readonly asked: string[]
  /** Runs before a request is looked at; what it throws is the answer. */
  before: (request: string) => void | Promise<void>
  goAway(): Promise<void>
  comeBack(): Promise<void>
}

export async function fakeProducts(): Promise<FakeProducts> {
  const products = new Map<string, Product>()
  const reservations = new Map<string, Reservation>()
  const app = createApp({ name: 'product-service', log: createLog('product-service', 'silent'), ready: () => true })
  let listening: Listening | undefined

  const fake: FakeProducts = {
    url: '',
    products,
    reservations,
    asked: [],
    before: () => undefined,
    async goAway() {
      await listening?.close(0)
      listening = undefined
    },
    async comeBack() {
      listening ??= await listen(app, { port: Number(new URL(fake.url).port) })
    },
  }

  async function asked(request: string): Promise<void> {
    fake.asked.push(request)
    await fake.before(request)
  }

  app.get('/internal/products', async (context) => {
    await asked('GET')
    const ids = context.req.query('ids')?.split(',') ?? []
    return context.json({ items: ids.flatMap((id) => products.get(id) ?? []) })
  })

  app.put('/internal/reservations/:orderId', async (context) => {
    await asked('PUT')
    const orderId = context.req.param('orderId')
    const known = reservations.get(orderId)
    if (known?.status === 'released') throw conflict('it was released before', 'released')
    if (known !== undefined) return context.json({ orderId, status: known.status })

    const { items } = await context.req.json<Reservation>()
    const short = items.find((item) => (products.get(item.productId)?.stock ?? 0) < item.quantity)
    if (short !== undefined) throw conflict(`too few of '${short.productId}'`, 'short')

    for (const { productId, quantity } of items) products.get(productId)!.stock -= quantity
    reservations.set(orderId, { status: 'reserved', items })
    return context.json({ orderId, status: 'reserved' }, 201)
  })

  app.post('/internal/reservations/:orderId/secure', async (context) => {
    await asked('secure')
    const known = reservations.get(context.req.param('orderId'))
    if (known === undefined || known.status === 'released') throw conflict('its time is up', 'released')

    return context.json({ status: known.status })
  })

  app.delete('/internal/reservations/:orderId', async (context) => {
    await asked('DELETE')
    const orderId = context.req.param('orderId')
    const known = reservations.get(orderId)
    if (known?.status === 'reserved') {
      for (const { productId, quantity } of known.items) products.get(productId)!.stock += quantity
    }
    reservations.set(orderId, { status: 'released', items: known?.items ?? [] })
    return context.body(null, 204)
  })

  app.post('/internal/reservations/:orderId/commit', async (context) => {
    await asked('commit')
    const known = reservations.get(context.req.param('orderId'))
    if (known === undefined || known.status === 'released') throw conflict('nothing is reserved', 'released')

    known.status = 'committed'
    return context.json({ status: 'committed' })
  })

  listening = await listen(app)
  return Object.assign(fake, { url: listening.url })
}

function conflict(detail: string, reason: string): HttpProblem {
  return new HttpProblem({ status: 409, title: 'Conflict', detail, more: { reason } })
}
