import type { GatewayConfig, RouteConfig } from '@msx/gateway-kit'

/** The parts of Kong's declarative format (3.0) that the shop uses. */
export interface KongConfig {
  readonly _format_version: '3.0'
  readonly _transform: true
  readonly services: readonly KongService[]
  readonly plugins: readonly KongPlugin[]
}

export interface KongService {
  readonly name: string
  readonly url: string
  readonly connect_timeout: number
  readonly read_timeout: number
  readonly write_timeout: number
  readonly retries: number
  readonly routes: readonly KongRoute[]
}

export interface KongRoute {
  readonly name: string
  readonly methods: readonly string[]
  readonly paths: readonly string[]
  readonly strip_path: false
  readonly preserve_host: false
  readonly plugins: readonly KongPlugin[]
}

export interface KongPlugin {
  readonly name: string
  readonly config: Readonly<Record<string, unknown>>
}

export interface KongOptions {
  /** Where a service answers. */
  url(service: string): string
  /** Requests per second and address. */
  readonly rateLimit: number
  /** Sign-ins per minute and address. */
  readonly signInLimit: number
}

/**
 * After the token was checked, its subject is the user, as our own gateway says it. What a client claims to be was
 * removed before.
 */
const identity = `
local token = kong.ctx.shared.authenticated_jwt_token
local part = token and token:match('^[^.]+%.([^.]+)%.')
if not part then return kong.response.exit(401) end
local text = part:gsub('-', '+'):gsub('_', '/')
local claims = require('cjson.safe').decode(ngx.decode_base64(text .. ('='):rep(-#text % 4)))
if not claims or not claims.sub or claims.aud ~= 'shop' then return kong.response.exit(401) end
kong.service.request.set_header('x-user-id', claims.sub)
`.trim()

const signedIn: readonly KongPlugin[] = [
  // One credential per signing key, found by the key's id.
  { name: 'jwt', config: { key_claim_name: 'kid', claims_to_verify: ['exp'] } },
  { name: 'post-function', config: { access: [identity] } },
]

/** The gateway's table as Kong's. What goes out over gRPC is left out: Kong's plugin for that wants annotations in the proto. */
export function kongConfig(table: GatewayConfig, options: KongOptions): KongConfig {
  const upstreams = [...new Set(table.routes.map((route) => route.upstream))].filter(
    (name) => name !== 'payment-service',
  )
  const { connect = 1_000, headers = 10_000 } = table.defaults?.timeout ?? {}

  return {
    _format_version: '3.0',
    _transform: true,
    services: upstreams.map((upstream) => ({
      name: upstream,
      url: options.url(upstream),
      connect_timeout: connect || 1_000,
      read_timeout: headers || 10_000,
      write_timeout: headers || 10_000,
      // Kong repeats only what never left for the service, and reads.
      retries: 1,
      routes: table.routes.filter((route) => route.upstream === upstream).map((route) => kongRoute(route, options)),
    })),
    plugins: [
      { name: 'correlation-id', config: { header_name: 'X-Request-Id', generator: 'uuid', echo_downstream: true } },
      { name: 'request-transformer', config: { remove: { headers: ['x-user-id'] } } },
      { name: 'request-size-limiting', config: { allowed_payload_size: 100, size_unit: 'kilobytes' } },
      { name: 'rate-limiting', config: { second: options.rateLimit, limit_by: 'ip', policy: 'local' } },
      { name: 'prometheus', config: { status_code_metrics: true, latency_metrics: true } },
    ],
  }
}

function kongRoute(route: RouteConfig, { signInLimit }: KongOptions): KongRoute {
  if (typeof route.rewrite === 'function')
    throw new TypeError(`route ${route.id}: Kong knows no function to rewrite with`)

  const limited: KongPlugin[] =
    route.rateLimit === 'sign-in'
      ? [{ name: 'rate-limiting', config: { minute: signInLimit, limit_by: 'ip', policy: 'local' } }]
      : []
  return {
    name: route.id ?? route.path,
    methods: [...(route.methods ?? [])],
    paths: [kongPath(route.path)],
    strip_path: false,
    preserve_host: false,
    plugins: [...limited, ...(route.auth === false ? [] : signedIn)],
  }
}

/** A regular expression over the whole path, or Kong would take a path for a beginning. */
function kongPath(path: string): string {
  const source = path
    .split('/')
    .map((segment) => (segment.startsWith(':') ? '[^/]+' : segment.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')))
    .join('/')
  return `~${source}/?$`
}
