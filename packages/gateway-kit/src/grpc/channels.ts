import type { ChannelCredentials, Client } from '@grpc/grpc-js'
import type { Lease } from '@msx/discovery'
import { ProxyError } from '../errors.js'
import { createUpstream, type Finder, type Upstream } from '../upstream.js'
import type { Grpc } from './libraries.js'

/** Where a call goes. Whoever takes one gives it back, once. */
export interface Destination {
  readonly address: string
  /** Identifies the instance, so that a retry can go to another one. */
  readonly id: string
  readonly client: Client
  readonly lease: Lease | undefined
  release(): void
}

export interface Channels {
  /**
   * Rejects with a ProxyError when there is nowhere to go. `ready` bounds, in milliseconds, the wait for the first answer
   * of the registry; instances in `exclude` are taken only when there are no others.
   */
  take(
    upstream: string | undefined,
    ready: number | false,
    exclude: ReadonlySet<string> | undefined,
  ): Destination | Promise<Destination>
  /** Each connection is closed once nobody has it. */
  close(): void
}

/**
 * A service that restarts must not be waited for two minutes, which is how far grpc-js backs off by itself. The pool of
 * connections is ours alone, so that closing it closes nobody else's.
 */
const channelOptions = {
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 2_000,
  'grpc.use_local_subchannel_pool': 1,
}

interface Channel {
  readonly client: Client
  calls: number
  /** By the number of the last call; what is idle for longest is closed first. */
  last: number
}

/** More instances than this are not kept connected at once. */
const MOST = 100

export function createChannels(
  grpc: Grpc,
  {
    address,
    discovery,
    credentials,
  }: {
    readonly address: string | undefined
    readonly discovery: Finder | undefined
    readonly credentials: ChannelCredentials | undefined
  },
): Channels {
  const channels = new Map<string, Channel>()
  const services = new Map<string, Upstream>()
  let turn = 0
  let closed = false

  function destination(to: string, id: string, lease: Lease | undefined): Destination {
    let channel = channels.get(to)
    if (channel === undefined) {
      makeRoom()
      const client = new grpc.Client(to, credentials ?? grpc.credentials.createInsecure(), channelOptions)
      channel = { client, calls: 0, last: 0 }
      channels.set(to, channel)
    }

    channel.calls += 1
    channel.last = ++turn
    const { client } = channel
    return {
      address: to,
      id,
      client,
      lease,
      release() {
        channel.calls -= 1
        if (closed) closeIdle()
      },
    }
  }

  function closeIdle(): void {
    for (const [to, { client, calls }] of channels) {
      if (calls > 0) continue
      client.close()
      channels.delete(to)
    }
  }

  function makeRoom(): void {
    if (channels.size < MOST) return

    const idle = [...channels].filter(([, { calls }]) => calls === 0).sort(([, a], [, b]) => a.last - b.last)
    const [to, channel] = idle[0] ?? []
    if (to === undefined) return
    channel!.client.close()
    channels.delete(to)
  }

  function serviceOf(name: string, ready: number | false): Upstream {
    const key = `${ready} ${name}`
    let service = services.get(key)
    if (service === undefined) {
      service = createUpstream(name, discovery, ready)
      services.set(key, service)
    }
    return service
  }

  return {
    take(upstream, ready, exclude) {
      if (address !== undefined) return destination(address, address, undefined)
      if (upstream === undefined) {
        throw new ProxyError('internal', 'request', {
          cause: new TypeError('transcode: with discovery, give it an upstream, or a route with one'),
        })
      }

      const pick = serviceOf(upstream, ready).pick(exclude)
      const toDestination = ({ origin, id, lease }: Awaited<typeof pick>): Destination => {
        const { hostname, port, protocol } = new URL(origin)
        return destination(`${hostname}:${port || (protocol === 'https:' ? 443 : 80)}`, id, lease)
      }
      return pick instanceof Promise ? pick.then(toDestination) : toDestination(pick)
    },
    close() {
      closed = true
      closeIdle()
    },
  }
}
