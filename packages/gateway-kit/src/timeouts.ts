/** How long the phases of a forwarded request may take, in milliseconds; `false` switches one off. */
export interface Timeouts {
  /** Until there is a connection to the upstream. Default 5_000. */
  readonly connect?: number | false | undefined
  /** From the last byte of the request to the headers of the response. Default 30_000. */
  readonly headers?: number | false | undefined
  /** Between two pieces of a body, in either direction. Off for `text/event-stream`. Default 60_000. */
  readonly idle?: number | false | undefined
  /**
   * Without a byte on a WebSocket in either direction; pings are bytes. Both sides are then told by a Close frame (1001).
   * Default 3_600_000.
   */
  readonly tunnel?: number | false | undefined
  /** From the arrival of the request to the last byte of the response, retries included; not of a WebSocket. Default `false`. */
  readonly total?: number | false | undefined
}

export type ResolvedTimeouts = { readonly [K in keyof Timeouts]-?: number | false }

export const defaultTimeouts: ResolvedTimeouts = {
  connect: 5_000,
  headers: 30_000,
  idle: 60_000,
  tunnel: 3_600_000,
  total: false,
}

/** The given timeouts over the defaults. */
export function resolveTimeouts(timeouts: Timeouts = {}): ResolvedTimeouts {
  return {
    connect: timeouts.connect ?? defaultTimeouts.connect,
    headers: timeouts.headers ?? defaultTimeouts.headers,
    idle: timeouts.idle ?? defaultTimeouts.idle,
    tunnel: timeouts.tunnel ?? defaultTimeouts.tunnel,
    total: timeouts.total ?? defaultTimeouts.total,
  }
}
