import type { GatewayConfig, RouteConfig } from '../config.js'
import { isRecord } from '../internal/checks.js'

type Tell = (path: string, message: string) => void
type Differences<T> = {
  readonly [Name in keyof Required<T>]: ((value: NonNullable<T[Name]>, tell: Tell) => void) | 'same'
}

const leftOut =
  (path: string, why: string) =>
  (_: unknown, tell: Tell): void =>
    tell(path, why)

/** What Kong does in another way, or not at all, by the feature of a route. A feature that is not here does not compile. */
const ofRoutes: Differences<RouteConfig> = {
  id: 'same',
  path: 'same',
  host: 'same',
  methods: 'same',
  upstream: 'same',
  rewrite: 'same',
  auth(auth, tell) {
    if (auth === false) return
    const names = isRecord(auth) && isRecord(auth['identity']) ? Object.keys(auth['identity']) : ['x-user-id']
    tell('auth', `sets ${names.join(', ')} for the upstream, which Kong's plugins for authentication do not`)
  },
  rateLimit(limit, tell) {
    if (limit !== false) {
      tell(
        'rateLimit',
        'is counted by each node of Kong, by fixed windows, after the token, and IPv6 by whole addresses',
      )
    }
  },
  timeout(timeout, tell) {
    if (timeout.idle !== undefined && timeout.idle !== timeout.headers) {
      tell('timeout.idle', 'holds for what is sent; for what is received Kong has one time, and timeout.headers is it')
    }
  },
  retry(retry, tell) {
    if (retry === false) return
    tell('retry', 'is of connections that fail in Kong, whatever the method; not of answers, by their status or late')
    for (const name of ['backoff', 'budget', 'statuses', 'replay'] as const) {
      if (retry[name] !== undefined)
        tell(`retry.${name}`, 'is left out: Kong retries at once, after errors of connections')
    }
  },
  // Told where it is translated.
  breaker: 'same',
  maxBody: 'same',
  headers: 'same',
  cors: 'same',
  grpc: 'same',
  websocket(websocket, tell) {
    if (websocket)
      tell('websocket', 'ends in Kong after timeout.headers without a byte from the upstream, not timeout.tunnel')
  },
  exactPath: 'same',
  priority(priority, tell) {
    if (priority !== 0) tell('priority', 'is left out: Kong sheds no load')
  },
}

const ofConfigs: Differences<Omit<GatewayConfig, 'routes' | 'upstreams' | 'defaults'>> = {
  listen: leftOut('listen', 'is left out: Kong has it in its own settings (proxy_listen, ssl_cert)'),
  limits: leftOut('limits', 'is left out: Kong has limits of connections in its own settings (nginx_http_…)'),
  health: leftOut('health', 'is left out: Kong has a status API for it (status_listen)'),
  trust: (trust, tell) => {
    if (trust !== false) tell('trust', 'is left out: Kong has it in its own settings (trusted_ips, real_ip_header)')
  },
}

/** Tells of everything in a route that is not the same in Kong. */
export const differencesOfRoute = (route: RouteConfig, tell: Tell): void => differences(ofRoutes, route, tell)

/** Tells of everything in a config, but its routes, that is not the same in Kong. */
export function differencesOfConfig(config: GatewayConfig, tell: Tell): void {
  differences(ofConfigs, config, tell)
  if (config.routes.some(({ websocket }) => websocket !== true)) {
    tell('routes', 'open WebSockets only where they say so; in Kong each route does')
  }
  if (config.routes.some(({ exactPath }) => exactPath !== true)) {
    tell('routes', 'refuse paths that an upstream may take for those of another route; Kong does not look at that')
  }
}

function differences<T>(known: Differences<T>, thing: T, tell: Tell): void {
  for (const name of Object.keys(known) as (keyof Required<T>)[]) {
    const told = known[name]
    const value = thing[name]
    if (told !== 'same' && value !== undefined && value !== null) told(value, tell)
  }
}
