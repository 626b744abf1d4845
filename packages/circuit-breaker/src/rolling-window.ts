/**
 * What a circuit remembers of the calls that completed. `calls`, `failures` and `slow` are running totals, true right
 * after `record` and `refresh`; both are O(1) and allocate nothing.
 */
export interface RollingWindow {
  readonly calls: number
  readonly failures: number
  readonly slow: number
  record(failed: boolean, slow: boolean): void
  /** Drops what has grown too old. To be called before the totals are read. */
  refresh(): void
  clear(): void
  save(): WindowSnapshot
  /** Takes over what another window saved `elapsed` ms ago, as far as it is of the same kind. */
  restore(saved: WindowSnapshot, elapsed: number): void
}

/** The contents of a window as plain JSON, oldest first. */
export type WindowSnapshot =
  | {
      readonly kind: 'calls'
      /** One digit per call: 1 = failed, 2 = slow, 3 = both. */
      readonly results: string
    }
  | {
      readonly kind: 'duration'
      /** Width of a bucket in milliseconds. */
      readonly width: number
      readonly buckets: readonly { readonly calls: number; readonly failures: number; readonly slow: number }[]
    }
