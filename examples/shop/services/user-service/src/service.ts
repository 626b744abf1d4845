import { randomUUID } from 'node:crypto'
import { shopEvents } from '@shop/contracts'
import { createService, openMail, type Service, type ServiceDeps } from '@shop/platform'
import { hashPassword, type PasswordCost } from './passwords.js'
import { userRoutes } from './routes.js'
import { clockSkew, ensureSigningKey } from './signing-keys.js'
import { tokenSigner } from './tokens.js'
import { createTries } from './tries.js'
import { turns } from './turns.js'

export interface UserServiceOptions {
  /** How long a token is good for, in milliseconds; rounded up to whole seconds. Default 3 600 000, an hour. */
  readonly tokenTtl?: number | undefined
  /** How many sign-ups and sign-ins wait while others are worked on; more are refused with 503. Default 40. */
  readonly maxWaiting?: number | undefined
  /** Sign-ins per minute and address, as the gateway counts them; an account bears twice as many wrong passwords. Default 10. */
  readonly signInLimit?: number | undefined
  /** What a new hash of a password costs. Default: N = 2^14, r = 8, p = 5; less is for tests only. */
  readonly passwordCost?: PasswordCost | undefined
}

const name = 'user-service'

/** Of Node's four threads for such work, two stay free for whoever is signed in already. */
const hashesAtOnce = 2

/**
 * In how many milliseconds the wrong passwords that an account bears at once are forgotten. With the usual limit that is
 * 20 at once and one each 30 s: some 2 900 guesses a day at the most, from however many addresses they come.
 */
const triesWindow = 600_000

/** Accounts, sign-in and the keys that others check its tokens with. */
export function createUserService(deps: ServiceDeps & UserServiceOptions): Service {
  const { database, tokenTtl = 3_600_000, maxWaiting = 40, signInLimit = 10, passwordCost } = deps
  if (!Number.isFinite(tokenTtl) || tokenTtl < 0) {
    throw new TypeError(`tokenTtl is ${tokenTtl}; expected a number of milliseconds, 0 or more`)
  }
  if (!Number.isInteger(signInLimit) || signInLimit < 1) {
    throw new TypeError(`signInLimit is ${signInLimit}; expected a whole number, 1 or more`)
  }

  const mail = openMail(name, shopEvents, deps)
  const hash = (password: string) => hashPassword(password, passwordCost)
  let decoy: Promise<string> | undefined

  return createService({
    name,
    deps,
    mail,
    publishes: true,
    migrations: new URL('../database/', import.meta.url),
    async prepare() {
      await ensureSigningKey(database)
      // It takes a quarter of a second, for which only a sign-in has to wait; that is where a failure of it is seen.
      decoy = hash(randomUUID())
      decoy.catch(() => undefined)
    },
    routes: (app) =>
      userRoutes(app, {
        database,
        tokenTtl,
        announce: (tx, type, { id: userId, preferences }) =>
          mail.outbox.publish(tx, type, { userId, preferences, timestamp: now() }, { key: userId }),
        announceGone: (tx, userId) =>
          mail.outbox.publish(
            tx,
            'user.deleted',
            // Whoever keeps something of theirs refuses their tokens until the last of them has expired.
            { userId, timestamp: now(), tokensExpire: now(tokenTtl + clockSkew) },
            { key: userId },
          ),
        hash,
        tries: createTries(database, { limit: 2 * signInLimit, window: triesWindow }),
        inTurn: turns({ atOnce: hashesAtOnce, waiting: maxWaiting }),
        sign: tokenSigner(database, tokenTtl),
        // `prepare` has run before the first request can come.
        decoy: () => decoy as Promise<string>,
      }),
  })
}

/** The time it is, or will be in so many milliseconds. */
function now(later = 0): string {
  return new Date(Date.now() + later).toISOString()
}
