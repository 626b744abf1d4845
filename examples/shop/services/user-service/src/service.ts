import { randomUUID } from 'node:crypto'
import { shopEvents } from '@shop/contracts'
import { createService, openMail, type Service, type ServiceDeps } from '@shop/platform'
import { hashPassword } from './passwords.js'
import { userRoutes } from './routes.js'
import { ensureSigningKey } from './signing-keys.js'
import { tokenSigner } from './tokens.js'
import { turns } from './turns.js'

export interface UserServiceOptions {
  /** How long a token is good for, in milliseconds; rounded up to whole seconds. Default 3 600 000, an hour. */
  readonly tokenTtl?: number | undefined
  /** How many sign-ups and sign-ins wait while others are worked on; more are refused with 503. Default 40. */
  readonly maxWaiting?: number | undefined
}

const name = 'user-service'

/** Of Node's four threads for such work, two stay free for whoever is signed in already. */
const hashesAtOnce = 2

/** Accounts, sign-in and the keys that others check its tokens with. */
export function createUserService(deps: ServiceDeps & UserServiceOptions): Service {
  const { database, tokenTtl = 3_600_000, maxWaiting = 40 } = deps
  if (!Number.isFinite(tokenTtl) || tokenTtl < 0) {
    throw new TypeError(`tokenTtl is ${tokenTtl}; expected a number of milliseconds, 0 or more`)
  }

  const mail = openMail(name, shopEvents, deps)
  let decoy: string | undefined

  return createService({
    name,
    deps,
    mail,
    publishes: true,
    migrations: new URL('../database/', import.meta.url),
    async prepare() {
      await ensureSigningKey(database)
      decoy = await hashPassword(randomUUID())
    },
    routes: (app) =>
      userRoutes(app, {
        database,
        tokenTtl,
        announce: (tx, type, { id: userId, preferences }) =>
          mail.outbox.publish(tx, type, { userId, preferences, timestamp: now() }, { key: userId }),
        announceGone: (tx, userId) =>
          mail.outbox.publish(tx, 'user.deleted', { userId, timestamp: now() }, { key: userId }),
        inTurn: turns({ atOnce: hashesAtOnce, waiting: maxWaiting }),
        sign: tokenSigner(database, tokenTtl),
        // `prepare` has run before the first request can come.
        decoy: () => decoy as string,
      }),
  })
}

function now(): string {
  return new Date().toISOString()
}
