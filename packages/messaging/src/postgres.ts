/// <reference lib="esnext.disposable" preserve="true" />

export type {
  InboxEvents,
  InboxMessage,
  OutboxStats,
  RelayEvents,
  RelaySnapshot,
  RowFacts,
  RowRefused,
} from './outbox-events.js'
export { type Inbox, type InboxOptions, inbox, type PruneOptions } from './postgres/inbox.js'
export {
  createOutbox,
  type Outbox,
  type OutboxItem,
  type OutboxOptions,
  type OutboxPublishOptions,
  type ParkedPage,
  type ParkedRow,
} from './postgres/outbox.js'
export type { Relay, RelayOptions } from './postgres/relay.js'
export type { MigrationsOptions } from './postgres/schema.js'
export type { Database, Queryable } from './shapes.js'
