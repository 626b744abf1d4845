import type { Database, Sql } from '@shop/platform'
import type { Letter } from './channels.js'

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

export async function writeNotification(tx: Pick<Sql, 'query'>, notification: Notification): Promise<void> {
  const { id, userId, orderId, type, channel, subject, text, at } = notification
  await tx.query(
    `INSERT INTO notifications (id, user_id, order_id, type, channel, subject, text, at)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
    [id, userId, orderId, type, channel, subject, text, at.toISOString()],
  )
}

/** The user's newest notifications, at most 100, newest first. */
export async function notificationsOf(database: Database, userId: string): Promise<Notification[]> {
  const { rows } = await database.query<Notification>(
    `SELECT id, user_id AS "userId", order_id AS "orderId", type, channel, subject, text, at
     FROM notifications WHERE user_id = $1 ORDER BY at DESC, id DESC, channel LIMIT ${newest}`,
    [userId],
  )
  return rows
}
