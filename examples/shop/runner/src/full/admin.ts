import pg from 'pg'
import { StartError } from '../start-error.js'
import type { Admin } from './provision.js'

/**
 * A connection that owns the name of a shop for as long as it lasts, so that no second shop works on the same databases
 * and changes their passwords under the first.
 */
export async function claimShop(url: string, shop: string): Promise<Admin> {
  const admin = new pg.Client({ connectionString: url, application_name: `${shop} (dev:full)` })
  // A server that restarts says so here too. The services look after themselves, and the name is not needed twice.
  admin.on('error', () => {})
  await admin.connect().catch((error: Error) => {
    throw new StartError(`PostgreSQL does not let DATABASE_URL in: ${error.message}`)
  })

  const { rows } = await admin.query('SELECT pg_try_advisory_lock(hashtext($1)) AS mine', [`shop/${shop}`])
  if (rows[0]?.mine === true) return admin

  await admin.end()
  throw new StartError(
    `a shop named '${shop}' runs on these servers already; stop it, or set SHOP_NAME to another name for this one`,
  )
}
