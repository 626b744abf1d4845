import { orderItem } from '@shop/contracts'
import { type App, type Database, HttpProblem, notFound, readJson } from '@shop/platform'
import { z } from 'zod'
import { readDemand } from './demand.js'
import { findProducts, searchProducts } from './products.js'
import { commit, type ReserveOutcome, release, reserve, secure } from './reservations.js'

const reservation = z.object({ items: z.array(orderItem).min(1).max(100) })

export function productRoutes(app: App, database: Database, reservationTtl: number): void {
  app.get('/api/products', async (context) => {
    return context.json({ items: await searchProducts(database, (context.req.query('query') ?? '').trim()) })
  })

  app.get('/api/products/:id', async (context) => {
    const [product] = await findProducts(database, [context.req.param('id')])
    if (product === undefined) throw notFound('such product')

    return context.json(product)
  })

  app.get('/internal/products', async (context) => {
    const ids = context.req.query('ids')
    if (ids === undefined) throw unprocessable('ids is missing; expected ?ids=one,two')

    return context.json({ items: await findProducts(database, ids.split(',')) })
  })

  app.get('/internal/demand', async (context) => context.json({ items: await readDemand(database) }))

  app.put('/internal/reservations/:orderId', async (context) => {
    const orderId = context.req.param('orderId')
    const { items } = await readJson(context, reservation)
    const outcome = await reserve(database, orderId, items, reservationTtl)

    if (outcome.kind === 'reserved') return context.json({ orderId, status: 'reserved', items: outcome.items }, 201)
    if (outcome.kind === 'repeated') return context.json({ orderId, status: outcome.status, items: outcome.items })
    throw refused(orderId, outcome)
  })

  app.post('/internal/reservations/:orderId/commit', async (context) => {
    const orderId = context.req.param('orderId')
    const status = await commit(database, orderId)
    if (status === undefined) throw notFound('such reservation')
    if (status === 'released') throw conflict('released', `the reservation of order ${orderId} was released`)

    return context.json({ orderId, status })
  })

  app.post('/internal/reservations/:orderId/secure', async (context) => {
    const orderId = context.req.param('orderId')
    const status = await secure(database, orderId)
    if (status === undefined) throw notFound('such reservation')
    if (status === 'released') throw conflict('released', 'the goods were kept for as long as they could be')

    return context.json({ orderId, status })
  })

  app.delete('/internal/reservations/:orderId', async (context) => {
    const orderId = context.req.param('orderId')
    if ((await release(database, orderId)) === 'committed') {
      throw conflict('committed', `the goods of order ${orderId} have left the warehouse`)
    }

    return context.body(null, 204)
  })
}

type Refused = Exclude<ReserveOutcome, { readonly kind: 'reserved' | 'repeated' }>

function refused(orderId: string, outcome: Refused): HttpProblem {
  switch (outcome.kind) {
    case 'released':
      return conflict('released', `the reservation of order ${orderId} was released before`)
    case 'different':
      return conflict('different', `order ${orderId} has a reservation of other items`)
    case 'unknown-product':
      return unprocessable(`there is no product '${outcome.productId}'`, { productId: outcome.productId })
    case 'short': {
      const { productId, wanted, left } = outcome
      return conflict('short', `${left} of '${productId}' left, ${wanted} wanted`, { productId, wanted, left })
    }
  }
}

/** `reason` tells programs apart what `detail` tells people. */
function conflict(reason: string, detail: string, facts: Readonly<Record<string, unknown>> = {}): HttpProblem {
  return new HttpProblem({ status: 409, title: 'Conflict', detail, more: { reason, ...facts } })
}

function unprocessable(detail: string, facts: Readonly<Record<string, unknown>> = {}): HttpProblem {
  return new HttpProblem({ status: 422, title: 'Unprocessable Content', detail, more: facts })
}
