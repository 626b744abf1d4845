import { circuitBreaker } from '@msx/circuit-breaker'
import { checkTrust } from './address.js'
import { checkIdentity } from './authenticate.js'
import {
  type GatewayConfig,
  type GatewayLimits,
  type RouteConfig,
  routeId,
  type UpstreamTarget,
  withDefaults,
} from './config.js'
import { checkOrigins } from './cors.js'
import { type ConfigIssue, GatewayConfigError } from './errors.js'
import { checkHeaderRules } from './headers.js'
import {
  aFunction,
  anObject,
  aString,
  type Check,
  duration,
  isRecord,
  listOfStrings,
  orFalse,
  positiveInteger,
  positiveNumber,
  show,
  wholeNumber,
} from './internal/checks.js'
import { type ListenConfig, readCertificates, type TlsConfig } from './listener.js'
import { parsePattern } from './pattern.js'
import { checkScopes } from './permissions.js'
import { compileRewrite } from './rewrite.js'
import { checkUtilisation } from './shed.js'
import { checkUpstream, isServiceName } from './upstream.js'

/** What a config may refer to; where a map is not given, any name will do. */
export interface Known {
  readonly verifiers?: Readonly<Record<string, unknown>> | undefined
  readonly limiters?: Readonly<Record<string, unknown>> | undefined
  readonly transcoders?: Readonly<Record<string, unknown>> | undefined
  readonly discovery: boolean
}

/** The same, with the names that the config itself gives. */
interface Named extends Known {
  readonly upstreams: ReadonlySet<string>
}

type Report = (path: string, message: string) => void

/** Looks at the whole config and throws one {@link GatewayConfigError} with everything that is wrong in it. */
export function checkConfig(config: GatewayConfig, known: Known): void {
  const issues: ConfigIssue[] = []
  const report: Report = (path, message) => issues.push({ path, message })

  const upstreams = new Set(isRecord(config?.upstreams) ? Object.keys(config.upstreams) : [])
  if (isRecord(config)) checkGateway(config, { ...known, upstreams }, report)
  else report('config', `an object was expected, got ${show(config)}`)

  if (issues.length > 0) throw new GatewayConfigError(issues)
}

function checkGateway(config: GatewayConfig, known: Named, report: Report): void {
  checkFields(
    config,
    '',
    {
      routes: anything,
      listen: anything,
      upstreams: anything,
      limits: anything,
      health: anything,
      trust: checkTrust,
      defaults: anything,
    },
    report,
  )
  if (config.listen !== undefined) {
    const port: Check = (value) =>
      Number.isInteger(value) && (value as number) >= 0 && (value as number) < 65_536 ? undefined : 'a port'
    checkObject(config.listen, 'listen', { port, host: aString, tls: anything, http2: aBoolean }, report, ['port'])
    if (isRecord(config.listen)) checkTls(config.listen, report)
  }
  if (config.limits !== undefined) checkObject(config.limits, 'limits', limitFields, report)
  if (config.health !== undefined) checkObject(config.health, 'health', { live: aPath, ready: aPath }, report)
  if (config.upstreams !== undefined) checkUpstreams(config.upstreams, report)
  if (config.defaults !== undefined) {
    if (isRecord(config.defaults)) checkRoute(config.defaults, 'defaults', known, report)
    else report('defaults', `an object was expected, got ${show(config.defaults)}`)
  }
  if (!Array.isArray(config.routes)) {
    report('routes', `a list was expected, got ${show(config.routes)}`)
    return
  }

  const defaults = isRecord(config.defaults) ? config.defaults : undefined
  for (const [index, route] of config.routes.entries()) {
    const path = `routes[${index}]`
    if (!isRecord(route)) report(path, `an object was expected, got ${show(route)}`)
    else {
      checkRoute(route, path, known, report)
      for (const name of ['path', 'upstream'] as const) {
        if (route[name] === undefined && defaults?.[name] === undefined) report(`${path}.${name}`, 'is missing')
      }
    }
  }

  const routes = config.routes.map((route) =>
    isRecord(route) ? withDefaults(route as unknown as RouteConfig, defaults) : undefined,
  )
  checkAuthSaid(routes, report)
  checkRewrites(routes, report)
  checkTwins(routes, report)
}

const anything: Check = () => undefined

const aBoolean: Check = (value) => (typeof value === 'boolean' ? undefined : 'true or false')

const aPath: Check = (value) =>
  typeof value === 'string' && /^(?:\/[\w.~-]+)+$/.test(value) ? undefined : "a path such as '/health/live'"

const limitFields: Readonly<Record<keyof GatewayLimits, Check>> = {
  inFlight: positiveInteger,
  utilisation: checkUtilisation,
  webSockets: positiveInteger,
  headerBytes: positiveInteger,
  headerTimeout: duration,
  keepAliveTimeout: duration,
  connections: positiveInteger,
}

function checkTls(listen: Partial<ListenConfig>, report: Report): void {
  const { tls, http2 } = listen
  if (http2 === true && tls === undefined)
    report('listen.http2', 'needs listen.tls: clients choose it in the TLS handshake')
  if (tls === undefined) return

  const fields = { cert: aString, key: aString }
  const isPair = (value: unknown): boolean =>
    isRecord(value) && typeof value['cert'] === 'string' && typeof value['key'] === 'string'
  checkObject(tls, 'listen.tls', { ...fields, sni: anObject }, report, ['cert', 'key'])
  if (!isRecord(tls)) return
  if (isRecord(tls.sni)) {
    for (const [name, pair] of Object.entries(tls.sni)) {
      const expected = hostPattern(name)
      if (expected !== undefined) report(`listen.tls.sni.${name}`, `${expected} was expected as its name`)
      checkObject(pair, `listen.tls.sni.${name}`, fields, report, ['cert', 'key'])
    }
  }
  if (!isPair(tls)) return
  if (tls.sni !== undefined && !(isRecord(tls.sni) && Object.values(tls.sni).every(isPair))) return

  const wrong = complaint(() => readCertificates(tls as TlsConfig))
  if (wrong !== undefined) report('listen.tls', `cannot be used: ${wrong}`)
}

function checkUpstreams(upstreams: unknown, report: Report): void {
  if (!isRecord(upstreams)) {
    report('upstreams', `an object was expected, got ${show(upstreams)}`)
    return
  }

  for (const [name, upstream] of Object.entries(upstreams)) {
    const path = `upstreams.${name}`
    if (!isServiceName(name) || checkUpstream(name) !== undefined)
      report(path, 'is no name for an upstream: letters, digits, dots, dashes')
    checkObject(upstream, path, { targets: anything }, report)
    if (!isRecord(upstream)) continue

    const { targets } = upstream
    if (!Array.isArray(targets) || targets.length === 0)
      report(`${path}.targets`, `a non-empty list was expected, got ${show(targets)}`)
    else {
      for (const [index, target] of targets.entries())
        checkObject(target, `${path}.targets[${index}]`, targetFields, report, ['url'])
      if (targets.every((target) => isRecord(target) && target['weight'] === 0))
        report(`${path}.targets`, 'have no weight, all of them')
    }
  }
}

const targetFields: Readonly<Record<keyof UpstreamTarget, Check>> = {
  url: (value) =>
    typeof value === 'string' && isServiceName(value) ? "a URL such as 'http://127.0.0.1:3000'" : checkUpstream(value),
  weight: (value) =>
    typeof value === 'number' && Number.isFinite(value) && value >= 0 ? undefined : 'a number, 0 or more',
}

const aBreaker: Check = (value) => (isRecord(value) ? undefined : 'options of circuitBreaker, or a circuit breaker')

const pattern: Check = (value) =>
  typeof value === 'string' ? complaint(() => parsePattern(value)) : "a path such as '/users/:id'"

const hostPattern: Check = (value) =>
  typeof value === 'string' && /^(?:\*\.)?[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?$/i.test(value)
    ? undefined
    : "a name such as 'shop.example' or '*.shop.example', without port"

const methodList: Check = (value) =>
  listOfStrings(value) === undefined &&
  (value as string[]).every((method) => /^[A-Z][A-Z-]*$/.test(method) && method !== 'TRACE' && method !== 'CONNECT')
    ? undefined
    : "a non-empty list of methods in capitals, such as ['GET', 'POST']"

const fields: Readonly<Record<keyof RouteConfig, Check>> = {
  id: aString,
  path: pattern,
  host: hostPattern,
  methods: methodList,
  upstream: checkUpstream,
  rewrite: (value) => (typeof value === 'string' || typeof value === 'function' ? undefined : 'a path or a function'),
  auth: anything,
  rateLimit: anything,
  timeout: anything,
  retry: orFalse(anObject),
  breaker: orFalse(aBreaker),
  maxBody: wholeNumber,
  headers: anything,
  grpc: aString,
  cors: anything,
  websocket: aBoolean,
  exactPath: aBoolean,
  priority: (value) => (typeof value === 'number' && !Number.isNaN(value) ? undefined : 'a number'),
}

const timeoutFields = {
  connect: orFalse(duration),
  headers: orFalse(duration),
  idle: orFalse(duration),
  tunnel: orFalse(duration),
  total: orFalse(duration),
}

const retryFields = {
  attempts: positiveInteger,
  backoff: aFunction,
  budget: (value: unknown) => (isRecord(value) ? undefined : 'a retryBudget()'),
  statuses: (value: unknown) =>
    Array.isArray(value) && value.every((status) => Number.isInteger(status) && status >= 400 && status <= 599)
      ? undefined
      : 'a list of statuses from 400 to 599',
  replay: wholeNumber,
}

const limitedBy = {
  key: aFunction,
  cost: (value: unknown) =>
    typeof value === 'function' || (Number.isFinite(value) && (value as number) >= 0)
      ? undefined
      : 'a number, 0 or more, or a function',
}

function checkRoute(route: Partial<RouteConfig>, path: string, known: Named, report: Report): void {
  checkFields(route, path, fields, report)
  checkAuth(route.auth, `${path}.auth`, known, report)
  checkRateLimit(route.rateLimit, `${path}.rateLimit`, known, report)
  if (route.timeout !== undefined) checkObject(route.timeout, `${path}.timeout`, timeoutFields, report)
  if (route.headers !== undefined)
    checkObject(
      route.headers,
      `${path}.headers`,
      { request: checkHeaderRules('request'), response: checkHeaderRules('response') },
      report,
    )
  if (route.cors !== undefined && route.cors !== false) checkCors(route.cors, `${path}.cors`, report)
  if (isRecord(route.retry)) checkFields(route.retry, `${path}.retry`, retryFields, report)
  const { breaker } = route
  if (isRecord(breaker) && !('tryAcquire' in breaker)) {
    const wrong = complaint(() => circuitBreaker(breaker))
    if (wrong !== undefined) report(`${path}.breaker`, wrong)
  }
  if (typeof route.grpc === 'string') checkTranscoded(route, path, known, report)
  else if (
    typeof route.upstream === 'string' &&
    isServiceName(route.upstream) &&
    !known.discovery &&
    !known.upstreams.has(route.upstream)
  ) {
    report(
      `${path}.upstream`,
      `${show(route.upstream)} is not in upstreams, and there is no deps.discovery to find a service of that name`,
    )
  }
}

const corsFields = {
  origins: checkOrigins,
  methods: listOfStrings,
  headers: listOfStrings,
  exposed: listOfStrings,
  credentials: (value: unknown) => (typeof value === 'boolean' ? undefined : 'true or false'),
  maxAge: duration,
}

function checkCors(options: unknown, path: string, report: Report): void {
  checkObject(options, path, corsFields, report, ['origins'])
  if (isRecord(options) && options['credentials'] === true && options['origins'] === '*') {
    report(`${path}.credentials`, "is not possible with origins '*'")
  }
}

/** Calls have other statuses, and their metadata are the transcoder's: what would change nothing is refused. */
function checkTranscoded(route: Partial<RouteConfig>, path: string, known: Known, report: Report): void {
  checkName(route.grpc!, `${path}.grpc`, 'transcoders', known, report)
  if (isRecord(route.retry) && route.retry['statuses'] !== undefined) {
    report(`${path}.retry.statuses`, 'is not possible on a route with grpc: what is asked for again is UNAVAILABLE')
  }
  if (route.websocket === true) {
    report(`${path}.websocket`, 'is not possible on a route with grpc: a call is no WebSocket')
  }
  if (isRecord(route.headers) && route.headers['request'] !== undefined) {
    report(`${path}.headers.request`, "is not possible on a route with grpc; see the transcoder's option metadata")
  }
}

const authFields = { verifier: aString, identity: checkIdentity, scopes: checkScopes, roles: listOfStrings }

function checkAuth(auth: unknown, path: string, known: Known, report: Report): void {
  if (auth === undefined || auth === false) return

  const verifier = isRecord(auth) ? auth['verifier'] : auth
  if (isRecord(auth)) checkFields(auth, path, authFields, report, ['verifier'])
  if (typeof verifier === 'string')
    checkName(verifier, isRecord(auth) ? `${path}.verifier` : path, 'verifiers', known, report)
  else if (!isRecord(auth))
    report(path, `the name of a verifier, { verifier: … }, or false was expected, got ${show(auth)}`)
}

function checkRateLimit(limit: unknown, path: string, known: Known, report: Report): void {
  if (limit === undefined || limit === false) return
  if (typeof limit === 'string') {
    checkName(limit, path, 'limiters', known, report)
    return
  }
  if (!isRecord(limit)) {
    report(path, `the name of a limiter, { limiter: … }, { limit, window }, or false was expected, got ${show(limit)}`)
    return
  }
  if (limit['limiter'] !== undefined) {
    checkFields(limit, path, { limiter: aString, ...limitedBy }, report)
    if (typeof limit['limiter'] === 'string') checkName(limit['limiter'], `${path}.limiter`, 'limiters', known, report)
    return
  }

  const window: Check = (value) => positiveNumber(value) ?? duration(value)
  checkFields(limit, path, { limit: positiveInteger, window, burst: positiveInteger, ...limitedBy }, report, [
    'limit',
    'window',
  ])
}

function checkName(
  name: string,
  path: string,
  map: 'verifiers' | 'limiters' | 'transcoders',
  known: Known,
  report: Report,
): void {
  const there = known[map]
  if (there === undefined || Object.hasOwn(there, name)) return

  const names = Object.keys(there)
  report(
    path,
    `${show(name)} is not in deps.${map}, which has ${names.length === 0 ? 'none' : names.map(show).join(', ')}`,
  )
}

function checkObject(
  value: unknown,
  path: string,
  checks: Readonly<Record<string, Check>>,
  report: Report,
  required: readonly string[] = [],
): void {
  if (isRecord(value)) checkFields(value, path, checks, report, required)
  else report(path, `an object was expected, got ${show(value)}`)
}

function checkFields(
  value: object,
  path: string,
  checks: Readonly<Record<string, Check>>,
  report: Report,
  required: readonly string[] = [],
): void {
  const at = (name: string): string => (path === '' ? name : `${path}.${name}`)

  for (const name of Object.keys(value)) {
    if (!Object.hasOwn(checks, name)) report(at(name), `is not an option; there are ${Object.keys(checks).join(', ')}`)
  }
  for (const [name, check] of Object.entries(checks)) {
    const given = (value as Record<string, unknown>)[name]
    const expected = given === undefined && !required.includes(name) ? undefined : check(given)
    if (expected !== undefined) report(at(name), `${expected} was expected, got ${show(given)}`)
  }
}

/** A config that speaks of authentication has to do so for every route: what is open is open on purpose. */
function checkAuthSaid(routes: readonly (RouteConfig | undefined)[], report: Report): void {
  if (!routes.some((route) => route?.auth !== undefined)) return

  for (const [index, route] of routes.entries()) {
    if (route !== undefined && route.auth === undefined) {
      report(
        `routes[${index}].auth`,
        "is missing, while other routes have one; say 'auth: false' if everybody may come here",
      )
    }
  }
}

function checkRewrites(routes: readonly (RouteConfig | undefined)[], report: Report): void {
  for (const [index, route] of routes.entries()) {
    if (typeof route?.rewrite !== 'string' || pattern(route.path) !== undefined) continue

    const { rewrite } = route
    const wrong = complaint(() => compileRewrite(rewrite, parsePattern(route.path)))
    if (wrong !== undefined) report(`routes[${index}].rewrite`, wrong)
  }
}

/** Two routes for the same request, or under the same name: one of them would never be reached. */
function checkTwins(routes: readonly (RouteConfig | undefined)[], report: Report): void {
  const ids = new Map<string, number>()
  const shapes = new Map<string, number>()

  for (const [index, route] of routes.entries()) {
    if (
      route === undefined ||
      pattern(route.path) !== undefined ||
      (route.host !== undefined && hostPattern(route.host) !== undefined) ||
      (route.methods !== undefined && methodList(route.methods) !== undefined)
    )
      continue

    const id = routeId(route)
    const twin = ids.get(id)
    if (twin !== undefined) report(`routes[${index}]`, `has the id ${show(id)}, as has routes[${twin}]`)
    else ids.set(id, index)

    for (const method of route.methods ?? ['every method']) {
      const shape = `${method} ${route.host?.toLowerCase() ?? ''}${shapeOf(route.path)}`
      const other = shapes.get(shape)
      if (other !== undefined && other !== twin)
        report(`routes[${index}]`, `takes what routes[${other}] takes already (${method} ${route.path})`)
      else shapes.set(shape, index)
    }
  }
}

function shapeOf(path: string): string {
  return `/${parsePattern(path)
    .map((segment) =>
      segment.kind === 'static'
        ? encodeURIComponent(segment.text)
        : segment.kind === 'param'
          ? ':'
          : segment.kind === 'star'
            ? '*'
            : '**',
    )
    .join('/')}`
}

function complaint(attempt: () => unknown): string | undefined {
  try {
    attempt()
    return undefined
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}
