import type { Endpoint } from './endpoint.js'
import type { EjectionReason } from './internal/ejections.js'
import type { Snapshot } from './snapshot.js'

/** What a discovery tells its listeners. */
export interface DiscoveryEvents {
  /** A new snapshot: other endpoints, or the source is heard again after `stale` (then both lists are empty). */
  change: {
    readonly service: string
    readonly snapshot: Snapshot
    readonly added: readonly Endpoint[]
    readonly removed: readonly Endpoint[]
  }
  /** The source failed; the last good snapshot stays in use. Told once, until the source is heard again. */
  stale: { readonly service: string; readonly snapshot: Snapshot; readonly error: Error }
  /** An endpoint is left alone for `duration` ms because of how it answers; `times`: ejections in a row. */
  ejected: {
    readonly service: string
    readonly endpoint: Endpoint
    readonly reason: EjectionReason
    readonly duration: number
    readonly times: number
  }
  /** An ejected endpoint answered the request that tried it, and takes its share again. */
  readmitted: { readonly service: string; readonly endpoint: Endpoint }
  /** Each failure of the source, and each update with entries that had to be skipped. */
  error: { readonly service: string; readonly error: Error }
  /** The discovery was closed. */
  close: { readonly reason: 'closed' }
}
