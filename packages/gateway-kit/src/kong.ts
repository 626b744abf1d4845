import type { CircuitBreakerOptions } from '@msx/circuit-breaker'
import { type GatewayConfig, type RateLimitPolicy, type RouteConfig, routeId, withDefaults } from './config.js'
import { checkConfig } from './config-check.js'
import type { CorsOptions } from './cors.js'
import { type ConfigIssue, GatewayConfigError } from './errors.js'
import { isRecord } from './internal/checks.js'
import { differencesOfConfig, differencesOfRoute } from './kong/differences.js'
import { healthchecksOf, type KongHealthchecks } from './kong/health.js'
import { nameMethods, unownedOf } from './kong/methods.js'
import { kongPath, kongTarget, priorityOf, wildcardsOf } from './kong/paths.js'
import { parsePattern } from './pattern.js'
import { resolveTimeouts } from './timeouts.js'
import { isServiceName } from './upstream.js'

export type { KongHealthchecks } from './kong/health.js'

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

/** One place or several under one name, which services have as their host. */
export interface KongUpstream {
  readonly name: string
  /** The Host header they are asked with, where that is not each one's own. */
  readonly host_header?: string | undefined
  readonly healthchecks?: KongHealthchecks | undefined
  readonly targets: readonly { readonly target: string; readonly weight: number }[]
}

/** A file for `kong config db_import`, for `KONG_DECLARATIVE_CONFIG`, or for decK; JSON is YAML too. */
export interface KongConfig {
  readonly _format_version: '3.0'
  readonly _transform: true
  readonly services: readonly KongService[]
  /** What is refused with 405 here, and would be taken by a wider route there. */
  readonly routes?: readonly KongRoute[] | undefined
  readonly upstreams?: readonly KongUpstream[] | undefined
  readonly plugins: readonly KongPlugin[]
}

/** What a config names, and what stands for it in Kong. */
export interface KongOptions {
  /**
   * By the name of a verifier: what checks its tokens in Kong, such as `jwt`, `openid-connect`, or `key-auth` for API keys.
   * Default, if there is but one: the plugin `jwt`, which lets nobody in whom Kong does not know.
   */
  readonly verifiers?: Readonly<Record<string, KongPlugin>> | undefined
  /** By the name of a limiter: its numbers. */
  readonly limiters?: Readonly<Record<string, { readonly limit: number; readonly window: number }>> | undefined
  /** By the name of a transcoder: what transcodes in Kong, such as its plugin `grpc-gateway`, and the service's URL. */
  readonly transcoders?: Readonly<Record<string, { readonly plugin: KongPlugin; readonly url: string }>> | undefined
  /** By the name of a breaker that routes share: its options. Those of a route are known. */
  readonly breakers?: Readonly<Record<string, CircuitBreakerOptions>> | undefined
  /** By the name of a service: its URL. Default `http://<name>:80`. */
  readonly services?: Readonly<Record<string, string>> | undefined
  /** Hears of everything that Kong does in another way, or not at all, with its path. Default: a process warning each. */
  readonly onDifference?: ((difference: ConfigIssue) => void) | undefined
}

type Report = (path: string, message: string) => void

/**
 * A gateway's routes in Kong's declarative format (version 3.0), so that the table can move there.
 *
 * What Kong cannot do the same way is an error, not left out: functions, a rate limit over a window that Kong does not
 * count by, scopes and roles, a total timeout. What it does by other means is left out: breakers, the settings of a
 * retry but its attempts, priorities, `trust`, `limits`, `health` and `listen`. `exactPath` has no counterpart: Kong routes
 * a path as it is written, and does not ask how an upstream reads it.
 *
 * @throws {GatewayConfigError} with everything that cannot be said, each with its path.
 *
 * @example
 * await writeFile('kong.json', JSON.stringify(toKong(config), undefined, 2))
 */
export function toKong(config: GatewayConfig, options: KongOptions = {}): KongConfig {
  checkConfig(config, { discovery: true })
  const issues: ConfigIssue[] = []
  const tell: Report = (path, message) => (options.onDifference ?? warn)({ path, message })
  const upstreams = upstreamsOf(config, (path, message) => issues.push({ path, message }))
  const known = { ...options, services: { ...options.services, ...upstreams.urls } }
  const routes = config.routes.map((route) => withDefaults(route, config.defaults))
  const identity = identityOf(routes)
  const methodsOf = nameMethods(routes)
  const wildcards = wildcardsOf(routes)
  const placeOf = (route: RouteConfig): Place => ({ methods: methodsOf(route), wildcards })
  const services = new Map<string, { settings: Omit<KongService, 'routes'>; routes: KongRoute[] }>()

  const differences: [string, string][] = []
  differencesOfConfig({ ...config, routes }, (path, message) => differences.push([path, message]))
  checkVerifiers(routes, options, (path, message) => issues.push({ path, message }))
  for (const [index, route] of routes.entries()) {
    const report: Report = (path, message) => issues.push({ path: `routes[${index}].${path}`, message })
    const differs: Report = (path, message) => differences.push([`routes[${index}].${path}`, message])
    checkExpressible(route, report)
    differencesOfRoute(route, differs)
    const named = methodsOf(route)
    if (route.methods === undefined && named !== undefined)
      differs('methods', `are every one; beside routes that name theirs, they are ${named.join(', ')} in Kong`)
    const url = urlOf(route, known, report)
    const settings = serviceOf(route, upstreams.add(url, breakerOf(route, options, differs)))
    const key = JSON.stringify(settings)
    const service = services.get(key) ?? { settings: { name: '', ...settings }, routes: [] }
    service.routes.push(routeOf(route, placeOf(route), pluginsOf(route, url, identity, options, report)))
    services.set(key, service)
  }
  if (issues.length > 0) throw new GatewayConfigError(issues)

  for (const [path, message] of differences) tell(path, message)
  const taken = new Set<string>()
  const takenByRoutes = new Set<string>()
  const named = (route: KongRoute): KongRoute => ({ ...route, name: unique(route.name, takenByRoutes) })
  const written = [...services.values()].map(({ settings, routes }) => ({ ...settings, routes: routes.map(named) }))
  const refusing = unownedOf(routes).map(({ route, methods }) =>
    named(routeOf(route, { methods, wildcards }, [{ name: 'request-termination', config: { status_code: 405 } }])),
  )
  return {
    _format_version: '3.0',
    _transform: true,
    services: written.map((service) => ({
      ...service,
      name: unique(slug(new URL(service.url).hostname).replace(throughUpstream, ''), taken),
    })),
    ...(refusing.length > 0 && { routes: refusing }),
    ...(upstreams.list.length > 0 && { upstreams: upstreams.list }),
    plugins: [
      { name: 'correlation-id', config: { header_name: 'X-Request-ID', generator: 'uuid', echo_downstream: true } },
      { name: 'prometheus', config: { status_code_metrics: true, latency_metrics: true } },
    ],
  }
}

function warn({ path, message }: ConfigIssue): void {
  process.emitWarning(`${path} ${message}`, 'MsxKongWarning')
}

interface Upstreams {
  readonly list: KongUpstream[]
  /** By the name of an upstream, as if it was a service. */
  readonly urls: Readonly<Record<string, string>>
  /** The URL that goes through an upstream with these checks; where there are none, the same URL. */
  add(url: string, healthchecks: KongHealthchecks | undefined): string
}

/** Kong balances over hosts and ports: what else a target's URL says has to be the same for all. */
function upstreamsOf({ upstreams = {} }: GatewayConfig, report: Report): Upstreams {
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
    list.push({ name, targets: parsed.map(({ url, weight }) => ({ target: targetOf(url), weight })) })
  }

  const guarded = new Map<string, string>()
  const taken = new Set(list.map(({ name }) => name))
  return {
    list,
    urls,
    add(url, healthchecks) {
      if (healthchecks === undefined) return url

      const { protocol, host, hostname, pathname } = new URL(url)
      const key = JSON.stringify([protocol, host, healthchecks])
      let name = guarded.get(key)
      if (name === undefined) {
        // Not the host's own name: others may go there without a breaker.
        name = unique(`${slug(hostname)}.breaker`, taken)
        guarded.set(key, name)
        const named = Object.hasOwn(urls, hostname) ? list.find((one) => one.name === hostname) : undefined
        list.push({
          name,
          ...(named === undefined && { host_header: host }),
          targets: named?.targets ?? [{ target: targetOf(new URL(url)), weight: 1 }],
          healthchecks,
        })
      }
      return `${protocol}//${name}${pathname === '/' ? '' : pathname}`
    },
  }
}

/** How the names of upstreams end that are there for a breaker. */
const throughUpstream = /\.breaker(?:-\d+)?$/

const ports: Readonly<Record<string, number>> = { 'https:': 443, 'grpcs:': 443 }

const targetOf = ({ hostname, port, protocol }: URL): string => `${hostname}:${port || (ports[protocol] ?? 80)}`

/** The breaker of a route, which is one of its upstream in Kong. */
function breakerOf(
  { breaker, grpc }: RouteConfig,
  { breakers }: KongOptions,
  differs: Report,
): KongHealthchecks | undefined {
  if (breaker === undefined || breaker === false) return undefined

  const settings = 'tryAcquire' in breaker ? own(breakers, breaker.name) : breaker
  if (settings === undefined) {
    differs(
      'breaker',
      `is left out: it is shared, so say in breakers what the options of "${(breaker as { name: string }).name}" are`,
    )
    return undefined
  }
  differs('breaker', 'is one for all routes to the same place with the same settings, and for each target by itself')
  return healthchecksOf(settings, grpc === undefined ? 'http' : 'grpc', (message) => differs('breaker', message))
}

/**
 * What would let somebody in is refused: a plugin that passes on whom it does not know, or two verifiers that are the same
 * plugin by default, each of which would know the other's clients.
 */
function checkVerifiers(routes: readonly RouteConfig[], { verifiers }: KongOptions, report: Report): void {
  const names = new Set(routes.flatMap(({ auth }) => (auth ? [verifierOf(auth)] : [])))
  for (const name of names) {
    const plugin = own(verifiers, name)
    if (plugin === undefined && names.size > 1) {
      report(`verifiers.${name}`, 'is one of several; say in verifiers what checks its tokens in Kong')
    }
    if (plugin?.config?.['anonymous'] !== undefined && plugin.config['anonymous'] !== null) {
      report(`verifiers.${name}`, 'has a config with anonymous, which lets in whom it does not know')
    }
    if (plugin !== undefined && notForThis.has(plugin.name)) {
      report(`verifiers.${name}`, `is the plugin ${plugin.name}, which checks nobody`)
    }
  }
}

/** Plugins of Kong that one may take for what they are not. */
const notForThis = new Set([
  'acl',
  'cors',
  'rate-limiting',
  'request-transformer',
  'response-transformer',
  'request-size-limiting',
  'correlation-id',
  'prometheus',
  'grpc-gateway',
])

const verifierOf = (auth: Exclude<RouteConfig['auth'], false | undefined>): string =>
  typeof auth === 'string' ? auth : auth.verifier

function checkExpressible(route: RouteConfig, report: Report): void {
  if (typeof route.rewrite === 'function') report('rewrite', 'is a function, which no file can have; use a pattern')
  if (resolveTimeouts(route.timeout).total !== false) report('timeout.total', 'is not known to Kong')
  if (isRecord(route.auth) && (route.auth['scopes'] !== undefined || route.auth['roles'] !== undefined)) {
    report('auth', 'asks for scopes or roles, which Kong checks by groups of its consumers (plugin acl)')
  }
  for (const [name, value] of Object.entries(route.headers?.request ?? {})) {
    if (value?.includes('$(') === true) report(`headers.request.${name}`, "has '$(', which begins a template in Kong")
  }
}

/** Off means that nobody counts: the longest time Kong takes. */
const NEVER = 2 ** 31 - 2

function serviceOf(route: RouteConfig, url: string): Omit<KongService, 'routes' | 'name'> {
  const timeouts = resolveTimeouts(route.timeout)
  const atLeastOne = (ms: number | false): number => (ms === false ? NEVER : Math.max(1, Math.ceil(ms)))

  return {
    url,
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

interface Place {
  readonly methods: readonly string[] | undefined
  readonly wildcards: readonly string[]
}

function routeOf(route: RouteConfig, { methods, wildcards }: Place, plugins: readonly KongPlugin[]): KongRoute {
  const pattern = parsePattern(route.path)

  return {
    name: slug(routeId(route)),
    paths: [kongPath(pattern)],
    ...(methods !== undefined && { methods }),
    ...(route.host !== undefined && { hosts: [route.host] }),
    regex_priority: priorityOf(pattern, wildcards.indexOf(route.host ?? '')),
    strip_path: false,
    preserve_host: false,
    path_handling: 'v0',
    plugins,
  }
}

function pluginsOf(
  route: RouteConfig,
  url: string,
  identity: readonly string[],
  options: KongOptions,
  report: Report,
): KongPlugin[] {
  const plugins: KongPlugin[] = []
  const { auth, rateLimit, maxBody, headers, rewrite, grpc } = route

  if (auth !== undefined && auth !== false) {
    plugins.push(own(options.verifiers, verifierOf(auth)) ?? { name: 'jwt', config: { claims_to_verify: ['exp'] } })
  }
  if (rateLimit !== undefined && rateLimit !== false) {
    const plugin = limitOf(rateLimit, options, report)
    if (plugin !== undefined) plugins.push(plugin)
  }
  if (route.cors) plugins.push(corsOf({ methods: route.methods, ...route.cors }, report))
  if (maxBody !== undefined) {
    plugins.push({ name: 'request-size-limiting', config: { allowed_payload_size: maxBody, size_unit: 'bytes' } })
  }
  if (grpc !== undefined) {
    const transcoder = own(options.transcoders, grpc)
    if (transcoder !== undefined) plugins.push(transcoder.plugin)
  }

  const basePath = new URL(url).pathname.replace(/\/+$/, '')
  const uri = typeof rewrite === 'string' ? kongTarget(rewrite, parsePattern(route.path), basePath) : undefined
  plugins.push({ name: 'request-transformer', config: requestChanges(headers?.request, identity, uri) })
  if (headers?.response !== undefined) {
    plugins.push({ name: 'response-transformer', config: changes(headers.response) })
  }
  return plugins
}

/** Headers that say who somebody is, on whatever route, never come through from outside. */
function identityOf(routes: readonly RouteConfig[]): readonly string[] {
  const named = routes.flatMap(({ auth }) => {
    const identity = isRecord(auth) ? auth['identity'] : undefined
    return isRecord(identity) ? Object.keys(identity).map((name) => name.toLowerCase()) : []
  })

  return [...new Set(['x-user-id', ...named])]
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
