import { type App, type Database, HttpProblem, notFound, readJson, type Sql } from '@shop/platform'
import type { Context } from 'hono'
import { type Account, createUser, deleteUser, findAccount, findCredentials, updateUser } from './accounts.js'
import { verifyPassword } from './passwords.js'
import { changes, credentials, registration } from './requests.js'
import { publishedKeys, rotateSigningKey } from './signing-keys.js'
import type { Tries } from './tries.js'
import type { InTurn } from './turns.js'

export interface RouteOptions {
  readonly database: Database
  /** The hash that is compared where there is no account. */
  decoy(): Promise<string>
  sign(userId: string): Promise<string>
  hash(password: string): Promise<string>
  readonly tries: Tries
  /** What makes and compares hashes waits here for its turn. */
  readonly inTurn: InTurn
  /** How long a token is good for, in milliseconds. */
  readonly tokenTtl: number
  /** Tells the others what became of a user, if and when the transaction is committed. */
  announce(tx: Sql, type: 'user.registered' | 'user.updated', account: Account): Promise<void>
  announceGone(tx: Sql, userId: string): Promise<void>
}

export function userRoutes(
  app: App,
  { database, decoy, hash, tries, sign, inTurn, tokenTtl, announce, announceGone }: RouteOptions,
): void {
  app.post('/api/users', async (context) => {
    const { email, name, password } = await readJson(context, registration)
    const hashed = await inTurn(() => hash(password))
    const account = await database.transaction(async (tx) => {
      const inserted = await createUser(tx, { email, name, password: hashed })
      if (inserted !== undefined) await announce(tx, 'user.registered', inserted)
      return inserted
    })
    if (account === undefined) {
      throw new HttpProblem({ status: 409, title: 'Conflict', detail: `the address ${email} is taken` })
    }

    return context.json({ id: account.id, email: account.email, name: account.name }, 201, {
      location: `/api/users/${account.id}`,
    })
  })

  app.post('/api/sessions', async (context) => {
    const { email, password } = await readJson(context, credentials)
    await tries.take(email)
    const [known, spare] = await Promise.all([findCredentials(database, email), decoy()])

    // Who has no account costs as much time as who has one, or the answer's time would tell which addresses are known.
    const matches = await inTurn(() => verifyPassword(password, known?.password ?? spare)).catch(async (error) => {
      await tries.giveBack(email)
      throw error
    })
    if (known === undefined || !matches) {
      throw new HttpProblem({
        status: 401,
        title: 'Unauthorized',
        detail: 'the address or the password is wrong',
        headers: { 'www-authenticate': 'Bearer' },
      })
    }

    await tries.giveBack(email)
    return context.json({ token: await sign(known.id) }, 200, { 'cache-control': 'no-store' })
  })

  app.get('/api/users/:id', async (context) => {
    return context.json(existing(await findAccount(database, ownId(context))))
  })

  app.patch('/api/users/:id', async (context) => {
    const id = ownId(context)
    const wanted = await readJson(context, changes)
    const account = await database.transaction(async (tx) => {
      const updated = existing(await updateUser(tx, id, wanted))
      await announce(tx, 'user.updated', updated)
      return updated
    })

    return context.json(account)
  })

  app.delete('/api/users/:id', async (context) => {
    const id = ownId(context)
    await database.transaction(async (tx) => {
      if (!(await deleteUser(tx, id))) throw notFound('such account')
      await announceGone(tx, id)
    })

    return context.body(null, 204)
  })

  app.get('/.well-known/jwks.json', async (context) => context.json(await publishedKeys(database)))

  app.get('/internal/users/:id', async (context) => {
    const { id, name } = existing(await findAccount(database, context.req.param('id')))
    return context.json({ id, name })
  })

  app.post('/internal/signing-keys', async (context) => {
    return context.json({ kid: await rotateSigningKey(database, tokenTtl) }, 201)
  })
}

/** The account that is asked for, if it is the asker's own. Somebody else's looks the same as none. */
function ownId(context: Context): string {
  const id = context.req.param('id')
  if (id === undefined || context.req.header('x-user-id') !== id) throw notFound('such account')

  return id
}

function existing(account: Account | undefined): Account {
  if (account === undefined) throw notFound('such account')

  return account
}
