import type { Database } from '@shop/platform'
import type { Letter } from './compose.js'

export interface Notification extends Letter {
  /** The id of the event it tells of. */
  readonly id: string
  readonly userId: string
  readonly orderId: string
  /** The event's name. */
  readonly type: string
  readonly at: Date
}

const newest = 100

/** Writes it down once: a second time the same event changes nothing. */
export async function writeNotification(database: Database, notification: Notification): Promise<void> {
  const { id, userId, orderId, type, channel, subject, text, at } = notification
  await database.query(
    `INSERT INTO notifications (id, user_id, order_id, type, channel, subject, text, at)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO NOTHING`,
    [id, userId, orderId, type, channel, subject, text, at.toISOString()],
  )
}

/** The user's newest notifications, at most 100, newest first. */
export async function notificationsOf(database: Database, userId: string): Promise<Notification[]> {
  const { rows } = await database.query<Notification>(
    `SELECT id, user_id AS "userId", order_id AS "orderId", type, channel, subject, text, at
     FROM notifications WHERE user_id = $1 ORDER BY at DESC, id DESC LIMIT ${newest}`,
    [userId],
  )
  return rows
}
