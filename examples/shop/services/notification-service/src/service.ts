import { shopEvents } from '@shop/contracts'
import {
  type App,
  createService,
  type Database,
  fewAtOnce,
  HttpProblem,
  openMail,
  type Service,
  type ServiceDeps,
  transactionOf,
} from '@shop/platform'
import { channels } from './channels.js'
import { compose } from './compose.js'
import { notificationsOf, writeNotification } from './notifications.js'
import { preferencesOf, rememberRecipient, silenceRecipient } from './recipients.js'

const name = 'notification-service'

/** Tells customers what becomes of their orders, by the channels they chose. It knows both only from their events. */
export function createNotificationService(deps: ServiceDeps): Service {
  const { database } = deps

  const mail = openMail(name, shopEvents, deps, 'notification')
  mail.bus.subscribe(
    'notification',
    ['order.*', 'user.*'],
    async (message, context) => {
      const tx = transactionOf(context)
      switch (message.type) {
        case 'user.registered':
        case 'user.updated': {
          const { preferences, ...user } = message.data
          if (preferences !== undefined) await rememberRecipient(tx, { ...user, preferences })
          return
        }
        case 'user.deleted':
          return silenceRecipient(tx, message.data)
      }

      const { id, type, time: at, data } = message
      const { userId, orderId } = data
      const notice = compose(message)
      const wanted = await preferencesOf(tx, userId)
      for (const channel of channels.filter(({ name: one }) => wanted[one])) {
        await writeNotification(tx, { id, type, at, userId, orderId, ...channel.write(notice) })
      }
    },
    fewAtOnce,
  )

  return createService({
    name,
    deps,
    mail,
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
