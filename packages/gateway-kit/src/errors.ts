/** What went wrong between the gateway and an upstream. */
export type ProxyErrorKind =
  | 'connect'
  | 'timeout'
  | 'reset'
  | 'bad-response'
  | 'no-endpoint'
  | 'circuit-open'
  | 'loop'
  | 'client-gone'
  | 'client-timeout'
  | 'body-limit'
  | 'body-consumed'
  | 'internal'

/** Before the headers of the response (`request`), or while its body was on its way (`response`). */
export type ProxyPhase = 'request' | 'response'

/** The stable code of a {@link ProxyError}, one per kind. */
export type ProxyErrorCode =
  | 'MSX_PROXY_CONNECT'
  | 'MSX_PROXY_TIMEOUT'
  | 'MSX_PROXY_RESET'
  | 'MSX_PROXY_BAD_RESPONSE'
  | 'MSX_PROXY_NO_ENDPOINT'
  | 'MSX_PROXY_CIRCUIT_OPEN'
  | 'MSX_PROXY_LOOP'
  | 'MSX_PROXY_CLIENT_GONE'
  | 'MSX_PROXY_CLIENT_TIMEOUT'
  | 'MSX_PROXY_BODY_LIMIT'
  | 'MSX_PROXY_BODY_CONSUMED'
  | 'MSX_PROXY_INTERNAL'

interface CatalogueRow {
  readonly code: ProxyErrorCode
  readonly status: number
  readonly detail: string
}

/** One row per kind: the code, the status the client gets, and all that it is told. */
const catalogue: Readonly<Record<ProxyErrorKind, CatalogueRow>> = {
  connect: { code: 'MSX_PROXY_CONNECT', status: 502, detail: 'The upstream could not be reached.' },
  timeout: { code: 'MSX_PROXY_TIMEOUT', status: 504, detail: 'The upstream did not answer in time.' },
  reset: { code: 'MSX_PROXY_RESET', status: 502, detail: 'The upstream closed the connection before it had answered.' },
  'bad-response': { code: 'MSX_PROXY_BAD_RESPONSE', status: 502, detail: 'The upstream sent an invalid response.' },
  'no-endpoint': { code: 'MSX_PROXY_NO_ENDPOINT', status: 503, detail: 'No instance of the upstream is available.' },
  'circuit-open': {
    code: 'MSX_PROXY_CIRCUIT_OPEN',
    status: 503,
    detail: 'The upstream is being given time to recover.',
  },
  loop: { code: 'MSX_PROXY_LOOP', status: 508, detail: 'The request has been through this gateway before.' },
  'client-gone': { code: 'MSX_PROXY_CLIENT_GONE', status: 499, detail: 'The client went away.' },
  'client-timeout': {
    code: 'MSX_PROXY_CLIENT_TIMEOUT',
    status: 408,
    detail: 'The request body did not arrive in time.',
  },
  'body-limit': {
    code: 'MSX_PROXY_BODY_LIMIT',
    status: 413,
    detail: 'The request body is larger than this route accepts.',
  },
  'body-consumed': {
    code: 'MSX_PROXY_BODY_CONSUMED',
    status: 500,
    detail: 'The request body was read before it reached the proxy.',
  },
  internal: { code: 'MSX_PROXY_INTERNAL', status: 500, detail: 'The request could not be forwarded.' },
}

const proxyBrand = Symbol.for('@msx/gateway-kit.ProxyError')

/**
 * A request could not be forwarded, or its response not be finished. `cause` is what the transport said; it is for
 * logs, the client gets `message` and nothing else.
 */
export class ProxyError extends Error {
  override readonly name = 'ProxyError'
  readonly code: ProxyErrorCode
  readonly kind: ProxyErrorKind
  readonly phase: ProxyPhase
  /** What the client is told; 499 and everything in phase `response` only reaches the log. */
  readonly status: number
  /** Milliseconds after which another try makes sense, when that is known. */
  readonly retryAfter?: number | undefined

  constructor(
    kind: ProxyErrorKind,
    phase: ProxyPhase,
    options: { readonly cause?: unknown; readonly retryAfter?: number | undefined } = {},
  ) {
    const { code, status, detail } = catalogue[kind]
    super(detail, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.kind = kind
    this.phase = phase
    this.status = status
    this.retryAfter = options.retryAfter
    Object.defineProperty(this, proxyBrand, { value: true })
  }
}

/** Whether this is a {@link ProxyError}, also one from another copy of the package. */
export function isProxyError(error: unknown): error is ProxyError {
  return hasBrand(error, proxyBrand)
}

const configBrand = Symbol.for('@msx/gateway-kit.GatewayConfigError')

/** One thing that is wrong with a config, and where. */
export interface ConfigIssue {
  /** For example `routes[2].timeout.idle`. */
  readonly path: string
  /** What was expected and what was found. */
  readonly message: string
}

/** A config was refused. All that is wrong with it is listed at once, and nothing of it has been applied. */
export class GatewayConfigError extends TypeError {
  override readonly name = 'GatewayConfigError'
  readonly code = 'MSX_GATEWAY_CONFIG'
  readonly issues: readonly ConfigIssue[]

  constructor(issues: readonly ConfigIssue[]) {
    super(
      `the gateway's config is not valid:\n${issues.map(({ path, message }) => `  ${path}: ${message}`).join('\n')}`,
    )
    this.issues = issues
    Object.defineProperty(this, configBrand, { value: true })
  }
}

/** Whether this is a {@link GatewayConfigError}, also one from another copy of the package. */
export function isGatewayConfigError(error: unknown): error is GatewayConfigError {
  return hasBrand(error, configBrand)
}

const authBrand = Symbol.for('@msx/gateway-kit.AuthError')

/**
 * A token was refused (`MSX_AUTH_INVALID_TOKEN`, answered with 401), or nobody could tell because the keys were not
 * to be had (`MSX_AUTH_KEYS_UNAVAILABLE`) or jose is not installed (`MSX_AUTH_PEER_MISSING`), both answered with 503.
 */
export class AuthError extends Error {
  override readonly name = 'AuthError'
  readonly code: 'MSX_AUTH_INVALID_TOKEN' | 'MSX_AUTH_KEYS_UNAVAILABLE' | 'MSX_AUTH_PEER_MISSING'
  readonly status: 401 | 503
  /** Milliseconds after which another try makes sense, when that is known. */
  readonly retryAfter?: number | undefined

  constructor(
    code: AuthError['code'],
    message: string,
    options: { readonly cause?: unknown; readonly retryAfter?: number | undefined } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.status = code === 'MSX_AUTH_INVALID_TOKEN' ? 401 : 503
    this.retryAfter = options.retryAfter
    Object.defineProperty(this, authBrand, { value: true })
  }
}

/** Whether this is an {@link AuthError}, also one from another copy of the package. */
export function isAuthError(error: unknown): error is AuthError {
  return hasBrand(error, authBrand)
}

/** Every code an error of this package can have; the README's table is compared with it. */
export const errorCodes: readonly string[] = [
  ...Object.values(catalogue).map(({ code }) => code),
  'MSX_GATEWAY_CONFIG',
  'MSX_AUTH_INVALID_TOKEN',
  'MSX_AUTH_KEYS_UNAVAILABLE',
  'MSX_AUTH_PEER_MISSING',
  'MSX_GRPC_STATUS',
  'MSX_GRPC_REQUEST',
  'MSX_GRPC_PEER_MISSING',
]

function hasBrand(error: unknown, brand: symbol): boolean {
  return typeof error === 'object' && error !== null && brand in error
}
