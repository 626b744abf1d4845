import type { Endpoint } from './endpoint.js'

/** What is known of a service at one moment. Immutable: every change is a new snapshot. */
export interface Snapshot {
  readonly service: string
  readonly endpoints: readonly Endpoint[]
  /** Counts the snapshots of this service; 0 until the source has answered for the first time. */
  readonly version: number
  /** The source cannot be asked at the moment; the endpoints are the last that it was sure of. */
  readonly stale: boolean
  /** Why it is stale. */
  readonly error?: Error
}

/** How the endpoints of one snapshot differ from those before. An endpoint whose description changed is in both lists. */
export interface SnapshotDiff {
  readonly added: readonly Endpoint[]
  readonly removed: readonly Endpoint[]
}
