import { randomUUID } from 'node:crypto'
import { createBus } from '@msx/messaging'
import { shopEvents } from '@shop/contracts'
import { createService, type Service, type ServiceDeps } from '@shop/platform'
import { hashPassword } from './passwords.js'
import { type RouteOptions, userRoutes } from './routes.js'
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

/** How long a request waits for the broker before it answers without it, in milliseconds. */
const publishTimeout = 2_000

/** Of Node's four threads for such work, two stay free for whoever is signed in already. */
const hashesAtOnce = 2

/** Accounts, sign-in and the keys that others check its tokens with. */
export function createUserService(deps: ServiceDeps & UserServiceOptions): Service {
  const { database, transport, log, tokenTtl = 3_600_000, maxWaiting = 40 } = deps
  if (!Number.isFinite(tokenTtl) || tokenTtl < 0) {
    throw new TypeError(`tokenTtl is ${tokenTtl}; expected a number of milliseconds, 0 or more`)
  }

  const bus = createBus({ events: shopEvents, transport, source: name })
  let decoy: string | undefined

  // The account is committed by now. A broker that is away costs the event, not the answer.
  const announce: RouteOptions['announce'] = async (type, userId) => {
    try {
      await bus.publish(type, { userId, timestamp: new Date().toISOString() }, { key: userId, timeout: publishTimeout })
    } catch (error) {
      log.error({ err: error, type, userId }, 'event not published')
    }
  }

  return createService({
    name,
    deps,
    bus,
    migrations: new URL('../database/', import.meta.url),
    async prepare() {
      await ensureSigningKey(database)
      decoy = await hashPassword(randomUUID())
    },
    routes: (app) =>
      userRoutes(app, {
        database,
        tokenTtl,
        announce,
        inTurn: turns({ atOnce: hashesAtOnce, waiting: maxWaiting }),
        sign: tokenSigner(database, tokenTtl),
        // `prepare` has run before the first request can come.
        decoy: () => decoy as string,
      }),
  })
}
