import type { Sql } from '@shop/platform'
import type { ChannelName } from './channels.js'

type Queries = Pick<Sql, 'query'>

export type Preferences = Readonly<Record<ChannelName, boolean>>

/** For somebody of whom nothing was heard yet. */
const usual: Preferences = { email: true, sms: false, push: false }

export async function rememberRecipient(
  tx: Queries,
  recipient: { readonly userId: string; readonly preferences: Preferences; readonly timestamp: string },
): Promise<void> {
  const { userId, preferences, timestamp } = recipient
  await tx.query(
    `INSERT INTO recipients (user_id, email, sms, push, told_at) VALUES ($1, $2, $3, $4, $5)
     ON CONFLICT (user_id) DO UPDATE
     SET email = excluded.email, sms = excluded.sms, push = excluded.push, told_at = excluded.told_at
     WHERE recipients.told_at <= excluded.told_at`,
    [userId, preferences.email, preferences.sms, preferences.push, timestamp],
  )
}

/** Whoever deleted the account hears no more, also not of an order that was under way. The id stays, to know that. */
export async function silenceRecipient(tx: Queries, gone: { userId: string; timestamp: string }): Promise<void> {
  await rememberRecipient(tx, { ...gone, preferences: { email: false, sms: false, push: false } })
}

export async function preferencesOf(tx: Queries, userId: string): Promise<Preferences> {
  const { rows } = await tx.query<Preferences>('SELECT email, sms, push FROM recipients WHERE user_id = $1', [userId])
  return rows[0] ?? usual
}
