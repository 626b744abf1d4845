import { shopEvents } from '@shop/contracts'
import { createService, fewAtOnce, openMail, type Service, type ServiceDeps, transactionOf } from '@shop/platform'
import { recordFact, summarise } from './facts.js'

const name = 'analytics-service'

/** Counts everything that happens in the shop, each event once. */
export function createAnalyticsService(deps: ServiceDeps): Service {
  const { database } = deps

  const mail = openMail(name, shopEvents, deps, 'analytics')
  mail.bus.subscribe(
    'analytics',
    '#',
    async (message, context) => {
      const { id: eventId, type, source, time: at, data } = message
      const revenue =
        message.type === 'order.confirmed' ? { amount: message.data.total, currency: message.data.currency } : undefined
      await recordFact(transactionOf(context), { eventId, type, source, at, data, revenue })
    },
    fewAtOnce,
  )

  return createService({
    name,
    deps,
    mail,
    migrations: new URL('../database/', import.meta.url),
    routes: (app) => {
      app.get('/internal/summary', async (context) => context.json(await summarise(database)))
    },
  })
}
