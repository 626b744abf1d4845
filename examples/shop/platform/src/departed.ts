import type { Sql } from './database.js'

// Users whose accounts were deleted, kept by whoever owns something of theirs for as long as their tokens may be good:
// the gateway believes a token until it expires. The table is the service's own:
//
//   CREATE TABLE departed_users (user_id text PRIMARY KEY, tokens_expire timestamptz NOT NULL)

type Queries = Pick<Sql, 'query'>

/** Works `user.deleted` into the table, and forgets those who have no tokens any more. */
export async function rememberDeparture(
  tx: Queries,
  { userId, tokensExpire = 'infinity' }: { readonly userId: string; readonly tokensExpire?: string | undefined },
): Promise<void> {
  await tx.query('DELETE FROM departed_users WHERE tokens_expire < now()')
  await tx.query('INSERT INTO departed_users (user_id, tokens_expire) VALUES ($1, $2) ON CONFLICT DO NOTHING', [
    userId,
    tokensExpire,
  ])
}

export async function hasDeparted(sql: Queries, userId: string): Promise<boolean> {
  const { rows } = await sql.query('SELECT FROM departed_users WHERE user_id = $1', [userId])
  return rows.length > 0
}
