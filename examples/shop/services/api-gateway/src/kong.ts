import type { ConfigIssue, GatewayConfig } from '@msx/gateway-kit'
import { type KongConfig, type KongPlugin, toKong } from '@msx/gateway-kit/kong'
import { breakers } from './routes.js'

export interface KongOptions {
  /** Where each service answers. */
  readonly services: Readonly<Record<string, string>>
  /** Requests per second and address. */
  readonly rateLimit: number
  /** Sign-ins per minute and address. */
  readonly signInLimit: number
  /** Hears of what Kong does in another way. */
  onDifference(difference: ConfigIssue): void
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

/** One credential per signing key, found by the key's id. */
const jwt: KongPlugin = { name: 'jwt', config: { key_claim_name: 'kid', claims_to_verify: ['exp'] } }

/**
 * The gateway's table as Kong's. What our own gateway transcodes to gRPC goes to the same path of the service over HTTP:
 * Kong's plugin for gRPC wants annotations in the proto, and has statuses of its own. The limit on the whole time of a
 * request is left out, as Kong does not know it.
 */
export function kongConfig(
  table: GatewayConfig,
  { services, rateLimit, signInLimit, onDifference }: KongOptions,
): KongConfig {
  const { defaults = {}, routes } = table
  const config = toKong(
    {
      ...table,
      routes: routes.map(({ grpc: _, ...route }) => route),
      defaults: { ...defaults, timeout: { ...defaults.timeout, total: false } },
    },
    {
      verifiers: { customer: jwt },
      limiters: { 'sign-in': { limit: signInLimit, window: 60_000 } },
      services,
      breakers,
      onDifference,
    },
  )

  return {
    ...config,
    services: config.services.map((service) => ({
      ...service,
      routes: service.routes.map((route) => {
        const signedIn = route.plugins.some(({ name }) => name === 'jwt')
        const plugins = [
          ...route.plugins,
          ...(signedIn ? [{ name: 'post-function', config: { access: [identity] } }] : []),
        ]
        return { ...route, plugins }
      }),
    })),
    plugins: [
      ...config.plugins,
      { name: 'rate-limiting', config: { second: rateLimit, limit_by: 'ip', policy: 'local' } },
    ],
  }
}
