import { createBus } from '@msx/messaging'
import { shopEvents } from '@shop/contracts'
import { createService, type Service, type ServiceDeps } from '@shop/platform'
import { recordFact, summarise } from './facts.js'

const name = 'analytics-service'

/** Counts everything that happens in the shop, each event once. */
export function createAnalyticsService(deps: ServiceDeps): Service {
  const { database, transport } = deps

  const bus = createBus({ events: shopEvents, transport, source: name })
  bus.subscribe('analytics', '#', async (message) => {
    const { id: eventId, type, source, time: at, data } = message
    const revenue =
      message.type === 'order.confirmed' ? { amount: message.data.total, currency: message.data.currency } : undefined
    await recordFact(database, { eventId, type, source, at, data, revenue })
  })

  return createService({
    name,
    deps,
    bus,
    migrations: new URL('../database/', import.meta.url),
    routes: (app) => {
      app.get('/internal/summary', async (context) => context.json(await summarise(database)))
    },
  })
}
