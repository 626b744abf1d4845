import { randomUUID } from 'node:crypto'
import type { Sql } from '@shop/platform'

/** How somebody wants to hear from the shop. */
export interface Preferences {
  readonly email: boolean
  readonly sms: boolean
  readonly push: boolean
}

export interface Account {
  readonly id: string
  readonly email: string
  readonly name: string
  readonly preferences: Preferences
}

export interface NewAccount {
  readonly email: string
  readonly name: string
  /** Hashed. */
  readonly password: string
}

export interface AccountChanges {
  readonly name?: string | undefined
  readonly preferences?: { readonly [K in keyof Preferences]?: boolean | undefined } | undefined
}

const columns = 'id, email, name, preferences'

/** Undefined when the address is taken, also by somebody who registers at the same moment. */
export async function createUser(sql: Sql, account: NewAccount): Promise<Account | undefined> {
  const { rows } = await sql.query<Account>(
    `INSERT INTO users (id, email, name, password) VALUES ($1, $2, $3, $4)
     ON CONFLICT (email) DO NOTHING RETURNING ${columns}`,
    [randomUUID(), account.email, account.name, account.password],
  )
  return rows[0]
}

export async function findAccount(sql: Sql, id: string): Promise<Account | undefined> {
  const { rows } = await sql.query<Account>(`SELECT ${columns} FROM users WHERE id = $1`, [id])
  return rows[0]
}

export async function findCredentials(
  sql: Sql,
  email: string,
): Promise<{ readonly id: string; readonly password: string } | undefined> {
  const { rows } = await sql.query<{ id: string; password: string }>(
    'SELECT id, password FROM users WHERE email = $1',
    [email],
  )
  return rows[0]
}

/** Changes what is named and leaves the rest. Undefined when there is no such account. */
export async function updateUser(sql: Sql, id: string, changes: AccountChanges): Promise<Account | undefined> {
  const { rows } = await sql.query<Account>(
    `UPDATE users SET name = coalesce($2, name), preferences = preferences || $3::jsonb, updated_at = now()
     WHERE id = $1 RETURNING ${columns}`,
    [id, changes.name ?? null, JSON.stringify(changes.preferences ?? {})],
  )
  return rows[0]
}

/** Whether there was such an account. */
export async function deleteUser(sql: Sql, id: string): Promise<boolean> {
  const { rows } = await sql.query('DELETE FROM users WHERE id = $1 RETURNING id', [id])
  return rows.length > 0
}
