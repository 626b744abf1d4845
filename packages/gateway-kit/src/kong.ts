import { type GatewayConfig, type RateLimitPolicy, type RouteConfig, routeId, withDefaults } from './config.js'
import { checkConfig } from './config-check.js'
import type { CorsOptions } from './cors.js'
import { type ConfigIssue, GatewayConfigError } from './errors.js'
import { isRecord } from './internal/checks.js'
import { kongPath, kongTarget, priorityOf } from './kong/paths.js'
import { parsePattern } from './pattern.js'
import { resolveTimeouts } from './timeouts.js'
import { isServiceName } from './upstream.js'

/** A plugin of Kong, as its declarative format has it. */
export interface KongPlugin {
  readonly name: string
  readonly config?: Readonly<Record<string, unknown>> | undefined
}

export interface KongRoute {
  readonly name: string
  readonly paths: readonly string[]
  readonly methods?: readonly string[] | undefined
  readonly hosts?: readonly string[] | undefined
  readonly regex_priority: number
  readonly strip_path: false
  readonly preserve_host: false
  readonly path_handling: 'v0'
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

/** Several places under one name, which services have as their host. */
export interface KongUpstream {
  readonly name: string
  readonly targets: readonly { readonly target: string; readonly weight: number }[]
}

/** A file for `kong config db_import`, for `KONG_DECLARATIVE_CONFIG`, or for decK; JSON is YAML too. */
export interface KongConfig {
  readonly _format_version: '3.0'
  readonly _transform: true
  readonly services: readonly KongService[]
  readonly upstreams?: readonly KongUpstream[] | undefined
  readonly plugins: readonly KongPlugin[]
}

/** What a config names, and what stands for it in Kong. */
export interface KongOptions {
  /** By the name of a verifier: what checks its tokens in Kong. Default: the plugin `jwt`, which lets nobody in whom Kong does not know. */
  readonly verifiers?: Readonly<Record<string, KongPlugin>> | undefined
  /** By the name of a limiter: its numbers. */
  readonly limiters?: Readonly<Record<string, { readonly limit: number; readonly window: number }>> | undefined
  /** By the name of a transcoder: what transcodes in Kong, such as its plugin `grpc-gateway`, and the service's URL. */
  readonly transcoders?: Readonly<Record<string, { readonly plugin: KongPlugin; readonly url: string }>> | undefined
  /** By the name of a service: its URL. Default `http://<name>:80`. */
  readonly services?: Readonly<Record<string, string>> | undefined
}

type Report = (path: string, message: string) => void

/**
 * A gateway's routes in Kong's declarative format (version 3.0), so that the table can move there.
 *
 * What Kong cannot do the same way is an error, not left out: functions, a rate limit over a window that Kong does not
 * count by, scopes and roles, a total timeout. What it does by other means is left out: breakers, the settings of a
 * retry but its attempts, priorities, `trust`, `limits`, `health` and `listen`.
 *
 * @throws {GatewayConfigError} with everything that cannot be said, each with its path.
 *
 * @example
 * await writeFile('kong.json', JSON.stringify(toKong(config), undefined, 2))
 */
export function toKong(config: GatewayConfig, options: KongOptions = {}): KongConfig {
  checkConfig(config, { discovery: true })
  const issues: ConfigIssue[] = []
  const upstreams = upstreamsOf(config, (path, message) => issues.push({ path, message }))
  const services = new Map<string, { settings: Omit<KongService, 'routes'>; routes: KongRoute[] }>()

  for (const [index, given] of config.routes.entries()) {
    const route = withDefaults(given, config.defaults)
    const report: Report = (path, message) => issues.push({ path: `routes[${index}].${path}`, message })
    checkExpressible(route, report)
    const settings = serviceOf(route, { ...options, services: { ...options.services, ...upstreams.urls } }, report)
    const key = JSON.stringify(settings)
    const service = services.get(key) ?? { settings: { name: '', ...settings }, routes: [] }
    service.routes.push(routeOf(route, settings.url, options, report))
    services.set(key, service)
  }
  if (issues.length > 0) throw new GatewayConfigError(issues)

  const taken = new Set<string>()
  const takenByRoutes = new Set<string>()
  return {
    _format_version: '3.0',
    _transform: true,
    services: [...services.values()].map(({ settings, routes }) => ({
      ...settings,
      name: unique(slug(new URL(settings.url).hostname), taken),
      routes: routes.map((route) => ({ ...route, name: unique(route.name, takenByRoutes) })),
    })),
    ...(upstreams.list.length > 0 && { upstreams: upstreams.list }),
    plugins: [
      { name: 'correlation-id', config: { header_name: 'X-Request-ID', generator: 'uuid', echo_downstream: true } },
      { name: 'prometheus', config: { status_code_metrics: true, latency_metrics: true } },
    ],
  }
}

/** Kong balances over hosts and ports: what else a target's URL says has to be the same for all. */
function upstreamsOf(
  { upstreams = {} }: GatewayConfig,
  report: Report,
): { list: KongUpstream[]; urls: Record<string, string> } {
  const list: KongUpstream[] = []
  const urls: Record<string, string> = Object.create(null)

  for (const [name, { targets }] of Object.entries(upstreams)) {
    const parsed = targets.map(({ url, weight = 1 }) => ({ url: new URL(url), weight }))
    const rests = new Set(parsed.map(({ url }) => `${url.protocol}//${name}${url.pathname.replace(/\/+$/, '')}`))
    if (rests.size > 1)
      report(`upstreams.${name}`, 'has targets of different schemes or paths, which Kong does not have')
    if (parsed.some(({ weight }) => !Number.isInteger(weight) || weight > 65_535)) {
      report(`upstreams.${name}`, 'has weights that are no integers up to 65535, which Kong does not have')
    }

    urls[name] = [...rests][0]!
    list.push({
      name,
      targets: parsed.map(({ url, weight }) => ({
        target: `${url.hostname}:${url.port || (url.protocol === 'https:' ? 443 : 80)}`,
        weight,
      })),
    })
  }
  return { list, urls }
}

function checkExpressible(route: RouteConfig, report: Report): void {
  if (typeof route.rewrite === 'function') report('rewrite', 'is a function, which no file can have; use a pattern')
  if (resolveTimeouts(route.timeout).total !== false) report('timeout.total', 'is not known to Kong')
  if (isRecord(route.auth) && (route.auth['scopes'] !== undefined || route.auth['roles'] !== undefined)) {
    report('auth', 'asks for scopes or roles, which Kong checks by groups of its consumers (plugin acl)')
  }
}

/** Off means that nobody counts: the longest time Kong takes. */
const NEVER = 2 ** 31 - 2

function serviceOf(route: RouteConfig, options: KongOptions, report: Report): Omit<KongService, 'routes' | 'name'> {
  const timeouts = resolveTimeouts(route.timeout)
  const atLeastOne = (ms: number | false): number => (ms === false ? NEVER : Math.max(1, Math.ceil(ms)))

  return {
    url: urlOf(route, options, report),
    connect_timeout: atLeastOne(timeouts.connect),
    read_timeout: atLeastOne(timeouts.headers),
    write_timeout: atLeastOne(timeouts.idle),
    retries: route.retry ? (route.retry.attempts ?? 3) - 1 : 0,
  }
}

function urlOf(route: RouteConfig, options: KongOptions, report: Report): string {
  const transcoder = route.grpc === undefined ? undefined : own(options.transcoders, route.grpc)
  if (route.grpc !== undefined && transcoder === undefined) {
    report('grpc', `is "${route.grpc}"; say in transcoders what stands for it in Kong`)
  }
  if (transcoder !== undefined) return transcoder.url
  if (!isServiceName(route.upstream)) return route.upstream

  return own(options.services, route.upstream) ?? `http://${route.upstream}:80`
}

function routeOf(route: RouteConfig, url: string, options: KongOptions, report: Report): KongRoute {
  const pattern = parsePattern(route.path)
  const methods = route.methods?.includes('GET') === true ? [...new Set([...route.methods, 'HEAD'])] : route.methods

  return {
    name: slug(routeId(route)),
    paths: [kongPath(pattern)],
    ...(methods !== undefined && { methods }),
    ...(route.host !== undefined && { hosts: [route.host] }),
    regex_priority: priorityOf(pattern),
    strip_path: false,
    preserve_host: false,
    path_handling: 'v0',
    plugins: pluginsOf(route, url, options, report),
  }
}

function pluginsOf(route: RouteConfig, url: string, options: KongOptions, report: Report): KongPlugin[] {
  const plugins: KongPlugin[] = []
  const { auth, rateLimit, maxBody, headers, rewrite, grpc } = route

  if (auth !== undefined && auth !== false) {
    const name = typeof auth === 'string' ? auth : auth.verifier
    plugins.push(own(options.verifiers, name) ?? { name: 'jwt', config: { claims_to_verify: ['exp'] } })
  }
  if (rateLimit !== undefined && rateLimit !== false) {
    const plugin = limitOf(rateLimit, options, report)
    if (plugin !== undefined) plugins.push(plugin)
  }
  if (route.cors) plugins.push(corsOf(route.cors, report))
  if (maxBody !== undefined) {
    plugins.push({ name: 'request-size-limiting', config: { allowed_payload_size: maxBody, size_unit: 'bytes' } })
  }
  if (grpc !== undefined) {
    const transcoder = own(options.transcoders, grpc)
    if (transcoder !== undefined) plugins.push(transcoder.plugin)
  }

  const basePath = new URL(url).pathname.replace(/\/+$/, '')
  const uri = typeof rewrite === 'string' ? kongTarget(rewrite, parsePattern(route.path), basePath) : undefined
  plugins.push({ name: 'request-transformer', config: requestChanges(headers?.request, identityOf(route), uri) })
  if (headers?.response !== undefined) {
    plugins.push({ name: 'response-transformer', config: changes(headers.response) })
  }
  return plugins
}

/** Headers that say who somebody is never come through from outside. */
function identityOf({ auth }: RouteConfig): readonly string[] {
  const identity = isRecord(auth) ? auth['identity'] : undefined

  return isRecord(identity) ? Object.keys(identity) : ['x-user-id']
}

function requestChanges(
  rules: Readonly<Record<string, string | null>> = {},
  identity: readonly string[],
  uri: string | undefined,
): Record<string, unknown> {
  const { remove, replace = {}, add, append } = changes(rules)

  return {
    remove: { headers: [...identity, ...(remove?.headers ?? [])] },
    ...((uri !== undefined || add !== undefined) && { replace: { ...replace, ...(uri !== undefined && { uri }) } }),
    ...(add !== undefined && { add }),
    ...(append !== undefined && { append }),
  }
}

type Change = { readonly headers: readonly string[] }

/** A text sets: in Kong it replaces what is there, and is added where nothing is. */
function changes(rules: Readonly<Record<string, string | null>>): {
  remove?: Change
  replace?: Change
  add?: Change
  append?: Change
} {
  const removed = Object.keys(rules).filter((name) => rules[name] === null)
  const lines = Object.entries(rules).flatMap(([name, value]) => (value === null ? [] : [`${name}:${value}`]))
  const set = lines.filter((line) => !line.startsWith('+'))
  const added = lines.filter((line) => line.startsWith('+')).map((line) => line.slice(1))

  return {
    ...(removed.length > 0 && { remove: { headers: removed } }),
    ...(set.length > 0 && { replace: { headers: set }, add: { headers: set } }),
    ...(added.length > 0 && { append: { headers: added } }),
  }
}

function corsOf(cors: CorsOptions, report: Report): KongPlugin {
  const { origins, methods, headers, exposed, credentials = false, maxAge = 600_000 } = cors
  if (typeof origins === 'function') report('cors.origins', 'is a function, which no file can have; use a list')

  return {
    name: 'cors',
    config: {
      origins: typeof origins === 'function' ? [] : [origins].flat(),
      ...(methods !== undefined && { methods }),
      ...(headers !== undefined && { headers }),
      ...(exposed !== undefined && { exposed_headers: exposed }),
      credentials,
      max_age: Math.floor(maxAge / 1_000),
    },
  }
}

const windows = new Map([
  [1_000, 'second'],
  [60_000, 'minute'],
  [3_600_000, 'hour'],
  [86_400_000, 'day'],
])

function limitOf(policy: RateLimitPolicy, options: KongOptions, report: Report): KongPlugin | undefined {
  const { key, cost, burst } = (isRecord(policy) ? policy : {}) as Record<string, unknown>
  if (key !== undefined) report('rateLimit.key', 'is a function, which no file can have; Kong counts by address here')
  if (cost !== undefined && cost !== 1) report('rateLimit.cost', 'is not known to Kong, where each request counts once')

  const name = typeof policy === 'string' ? policy : 'limiter' in policy ? policy.limiter : undefined
  const numbers = name === undefined ? (policy as { limit: number; window: number }) : own(options.limiters, name)
  if (numbers === undefined) {
    report('rateLimit', `is "${name}"; say in limiters what its limit and window are`)
    return undefined
  }
  if (burst !== undefined && burst !== numbers.limit) {
    report('rateLimit.burst', 'is not known to Kong, where the whole limit may come at once')
  }

  const window = windows.get(numbers.window)
  if (window === undefined) {
    report('rateLimit.window', `is ${numbers.window} ms; Kong counts by second, minute, hour or day`)
    return undefined
  }
  return { name: 'rate-limiting', config: { [window]: numbers.limit, limit_by: 'ip', policy: 'local' } }
}

const own = <T>(map: Readonly<Record<string, T>> | undefined, name: string): T | undefined =>
  map !== undefined && Object.hasOwn(map, name) ? map[name] : undefined

/** What Kong takes for a name. */
const slug = (text: string): string => text.replace(/[^A-Za-z0-9._~-]+/g, '-').replace(/^-+|-+$/g, '') || 'root'

function unique(name: string, taken: Set<string>): string {
  let candidate = name
  for (let number = 2; taken.has(candidate); number += 1) candidate = `${name}-${number}`
  taken.add(candidate)

  return candidate
}
