/// <reference lib="esnext.disposable" preserve="true" />

export { type Inbox, type InboxOptions, inbox, type PruneOptions } from './postgres/inbox.js'
export {
  createOutbox,
  type Outbox,
  type OutboxItem,
  type OutboxOptions,
  type OutboxPublishOptions,
  type OutboxStats,
  type ParkedRow,
} from './postgres/outbox.js'
export type { Relay, RelayEvents, RelayOptions, RelaySnapshot, RowRefused } from './postgres/relay.js'
export type { Database, Queryable } from './shapes.js'
