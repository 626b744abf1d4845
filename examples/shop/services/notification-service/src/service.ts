import { createBus } from '@msx/messaging'
import { shopEvents } from '@shop/contracts'
import { type App, createService, type Database, HttpProblem, type Service, type ServiceDeps } from '@shop/platform'
import { compose } from './compose.js'
import { notificationsOf, writeNotification } from './notifications.js'

const name = 'notification-service'

/** Tells customers what becomes of their orders. It knows orders only from their events. */
export function createNotificationService(deps: ServiceDeps): Service {
  const { database, transport } = deps

  const bus = createBus({ events: shopEvents, transport, source: name })
  bus.subscribe('notification', 'order.*', async (message) => {
    const { userId, orderId } = message.data
    await writeNotification(database, {
      id: message.id,
      type: message.type,
      at: message.time,
      userId,
      orderId,
      ...compose(message),
    })
  })

  return createService({
    name,
    deps,
    bus,
    migrations: new URL('../database/', import.meta.url),
    routes: (app) => notificationRoutes(app, database),
  })
}

function notificationRoutes(app: App, database: Database): void {
  app.get('/internal/notifications', async (context) => {
    const userId = context.req.query('userId')
    if (userId === undefined || userId === '') {
      throw new HttpProblem({
        status: 422,
        title: 'Unprocessable Content',
        detail: 'userId is missing; expected ?userId=…',
      })
    }

    return context.json({ items: await notificationsOf(database, userId) })
  })
}
