import { readFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Discovery } from '@msx/discovery'
import type { Verify } from '../claims.js'
import { type GatewayConfig, type RouteConfig, withDefaults } from '../config.js'
import { checkConfig } from '../config-check.js'
import { GatewayConfigError, isGatewayConfigError } from '../errors.js'
import type { Transcoder } from '../grpc.js'
import { duration, isRecord, show } from '../internal/checks.js'
import type { RateLimiter } from '../limit/limiter.js'
import { type Finder, isServiceName } from '../upstream.js'
import { parseConfig } from './config-text.js'
import { readDiscovery, type Services } from './discovery.js'
import { Issues, oneOf } from './issues.js'
import { importPrometheus, importTracing } from './libraries.js'
import { type MetricsSettings, readMetrics } from './metrics-page.js'
import { createLimiter, createTranscoder, createVerifier, digestOfProtos } from './named.js'
import { Parts } from './parts.js'
import { createRedis, createRedisLimiter, type RedisConnection, readRedis } from './redis.js'
import { readRoutes } from './routes.js'

type Said = Readonly<Record<string, unknown>>

/** What was made from a file: the gateway's config, what its routes name, and what is the command's own. */
export interface Loaded {
  /** The file as it is written, with the environment in it, and a digest of its protos: changes are told by it. */
  readonly said: Said
  readonly config: GatewayConfig
  readonly deps: {
    readonly discovery: Discovery | undefined
    readonly verifiers: Readonly<Record<string, Verify>>
    readonly limiters: Readonly<Record<string, RateLimiter>>
    readonly transcoders: Readonly<Record<string, Transcoder>>
  }
  readonly settings: Settings
  readonly parts: Parts
}

export interface Settings {
  readonly metrics: MetricsSettings | undefined
  readonly opentelemetry: boolean
  /** Default: as the output is, `text` for a terminal, else `json`. */
  readonly log: 'json' | 'text' | false | undefined
  readonly shutdown: { readonly delay?: number | undefined; readonly timeout?: number | undefined }
}

export interface Loading {
  readonly env: Readonly<Record<string, string | undefined>>
  /** Whether connections are made. Without them everything is checked all the same. */
  readonly connect: boolean
  /** What is the same as in this one is kept, with all that it remembers. */
  readonly before?: Loaded | undefined
  /** Finds services in whatever discovery is in force when it is asked. Default: the one that the file says. */
  readonly finder?: Finder | undefined
  /** Tells what whoever runs the gateway should know. */
  warn(text: string): void
}

/**
 * Reads a file and makes what its routes name.
 *
 * @throws {GatewayConfigError} with everything that is wrong in it, each with its place.
 */
export async function loadFile(file: string, loading: Loading): Promise<Loaded> {
  const issues = new Issues()
  const said = parseConfig(await readFile(file, 'utf8'), loading.env, issues)
  const parts = new Parts(loading.before?.parts)
  try {
    const loaded = await read(said, dirname(file), parts, issues, loading)
    if (issues.list.length > 0) throw new GatewayConfigError(issues.list)

    return loaded
  } catch (error) {
    await parts.close(loading.before?.parts)
    throw error
  }
}

async function read(said: Said, folder: string, parts: Parts, issues: Issues, loading: Loading): Promise<Loaded> {
  const {
    discovery: registry,
    redis,
    verifiers,
    limiters,
    transcoders,
    metrics,
    opentelemetry,
    log,
    shutdown,
    ...rest
  } = said
  const settings = await readSettings({ metrics, opentelemetry, log, shutdown }, issues)
  const services = await readDiscovery(registry, issues)
  const discovery = await findServices(services, registry, parts, issues, loading)
  const redisSettings = readRedis(redis, issues)

  async function limitInRedis(name: string, options: Said, path: string): Promise<RateLimiter | undefined> {
    if (redisSettings === undefined) {
      if (redis === undefined) issues.add(`${path}.store`, "is 'redis', and the file has no redis to say where that is")
      return undefined
    }
    const connection = await issues.attempt('redis', () =>
      parts.keepOrMake<RedisConnection>(
        'redis',
        redis,
        [],
        () => createRedis(redisSettings, loading.connect, loading.warn),
        (made) => made.close(),
      ),
    )
    if (connection === undefined) return undefined

    return issues.attempt(path, () =>
      parts.keepOrMake(`limiter ${name}`, options, [connection], () =>
        createRedisLimiter(name, options, connection, redisSettings),
      ),
    )
  }

  const named = <T>(section: string, value: unknown, make: (options: Said, name: string, path: string) => Promise<T>) =>
    makeAll(section, issues.object(section, value), issues, make)
  const withProtos: Record<string, Said> = Object.create(null)
  const made = {
    verifiers: await named('verifiers', verifiers, (options, _, path) =>
      issues.attempt(path, () => parts.keepOrMake(path, options, [], () => createVerifier(options))),
    ),
    limiters: await named('limiters', limiters, (options, name, path) => {
      const { store } = options
      if (store === 'redis') return limitInRedis(name, options, path)
      if (store !== undefined && store !== 'local') {
        issues.add(`${path}.store`, `'local' or 'redis' was expected, got ${show(store)}`)
      }
      return issues.attempt(path, () => parts.keepOrMake(path, options, [], () => createLimiter(options)))
    }),
    transcoders: await named('transcoders', transcoders, async (options, name, path) => {
      // The same words may lead to another text by now.
      const words = { ...options, digest: await digestOfProtos(options, folder) }
      withProtos[name] = words
      return issues.attempt(path, () =>
        parts.keepOrMake(
          path,
          words,
          // One that finds its service by name knows the services there were.
          options['address'] === undefined ? [discovery] : [],
          () => createTranscoder(options, folder, discovery && (loading.finder ?? discovery)),
          (transcoder) => transcoder.close(),
        ),
      )
    }),
  }
  // Nobody can call a limiter so in the section, nor does a header tell of it: names of policies there are ASCII.
  const ofRoutes: Record<string, RateLimiter> = Object.create(null)
  const config = await readRoutes(rest, parts, issues, async (id, limit, path) => {
    const limiter = await limitInRedis(`route ${id}`, limit, path)
    if (limiter === undefined) return undefined

    ofRoutes[`redis · ${id}`] = limiter
    return `redis · ${id}`
  })

  const deps = { discovery, ...(made as object), limiters: { ...made.limiters, ...ofRoutes } } as Loaded['deps']
  checkRoutes(config as unknown as GatewayConfig, { verifiers, limiters, transcoders }, ofRoutes, services, issues)
  return {
    said: { ...said, ...(transcoders !== undefined && { transcoders: withProtos }) },
    config: config as unknown as GatewayConfig,
    deps,
    settings,
    parts,
  }
}

async function makeAll<T>(
  section: string,
  said: Said,
  issues: Issues,
  make: (options: Said, name: string, path: string) => Promise<T | undefined>,
): Promise<Record<string, T>> {
  const made: Record<string, T> = Object.create(null)
  for (const [name, options] of Object.entries(said)) {
    const path = `${section}.${name}`
    if (!isRecord(options)) issues.add(path, `an object was expected, got ${show(options)}`)
    else {
      const thing = await make(options, name, path)
      if (thing !== undefined) made[name] = thing
    }
  }
  return made
}

async function readSettings({ metrics, opentelemetry, log, shutdown }: Said, issues: Issues): Promise<Settings> {
  if (opentelemetry !== undefined && typeof opentelemetry !== 'boolean') {
    issues.add('opentelemetry', `true or false was expected, got ${show(opentelemetry)}`)
  }
  if (opentelemetry === true) await issues.attempt('opentelemetry', importTracing)
  if (metrics !== undefined) await issues.attempt('metrics', importPrometheus)
  const format = log === undefined || log === false ? undefined : oneOf('json', 'text')(log)
  if (format !== undefined) issues.add('log', `${format} or false was expected, got ${show(log)}`)
  const drain = issues.object('shutdown', shutdown)
  issues.members('shutdown', drain, { delay: duration, timeout: duration })

  return {
    metrics: readMetrics(metrics, issues),
    opentelemetry: opentelemetry === true,
    log: log as Settings['log'],
    shutdown: drain,
  }
}

async function findServices(
  services: Services | undefined,
  said: unknown,
  parts: Parts,
  issues: Issues,
  { connect, warn }: Loading,
): Promise<Discovery | undefined> {
  // Whoever only checks looks for nobody: a discovery begins to watch as soon as a route names a service.
  if (services === undefined) return undefined
  if (!connect || issues.list.some(({ path }) => path.startsWith('discovery'))) return services.createIdle()

  return parts.keepOrMake(
    'discovery',
    said,
    [],
    () => {
      const discovery = services.create()
      tellOfTrouble(discovery, warn)
      return discovery
    },
    (discovery) => discovery.close(),
  )
}

/** Once for each service, until it is known again. */
function tellOfTrouble(discovery: Discovery, warn: (text: string) => void): void {
  const troubled = new Set<string>()
  discovery.on('error', ({ service, error }) => {
    if (!troubled.has(service)) warn(`discovery of ${service}: ${error.message}; what was known stays in use`)
    troubled.add(service)
  })
  discovery.on('change', ({ service, snapshot }) => {
    if (!snapshot.stale && troubled.delete(service)) warn(`discovery of ${service}: known again`)
  })
}

/** What `createGateway` would say, and which services nobody knows. */
function checkRoutes(
  config: GatewayConfig,
  sections: Readonly<Record<'verifiers' | 'limiters' | 'transcoders', unknown>>,
  ofRoutes: Said,
  services: Services | undefined,
  issues: Issues,
): void {
  const names = (section: keyof typeof sections): Said => (isRecord(sections[section]) ? sections[section] : {})
  try {
    checkConfig(config, {
      verifiers: names('verifiers'),
      limiters: { ...names('limiters'), ...ofRoutes },
      transcoders: names('transcoders'),
      discovery: true,
    })
  } catch (error) {
    if (!isGatewayConfigError(error)) throw error
    for (const { path, message } of error.issues) issues.add(path, message.replace(/\bdeps\./, ''))
  }

  if (services?.open === true || !Array.isArray(config.routes)) return
  for (const [index, route] of config.routes.entries()) {
    if (!isRecord(route)) continue

    const service = serviceOf(
      withDefaults(route as unknown as RouteConfig, config.defaults),
      config,
      names('transcoders'),
    )
    if (service === undefined || services?.names.has(service) === true) continue
    issues.add(
      `routes[${index}].upstream`,
      `${show(service)} is neither in upstreams nor in discovery.static, and discovery names no registry to ask for it`,
    )
  }
}

/** The services that the routes of a file have to find. */
export function servicesOf({ config, said }: Loaded): ReadonlySet<string> {
  const transcoders = isRecord(said['transcoders']) ? said['transcoders'] : {}
  const names = config.routes.map((route) => serviceOf(withDefaults(route, config.defaults), config, transcoders))

  return new Set(names.filter((name) => name !== undefined))
}

/** The service that a route has to find, if it does not know where to go without. */
function serviceOf(
  { upstream, grpc }: RouteConfig,
  { upstreams }: GatewayConfig,
  transcoders: Said,
): string | undefined {
  if (grpc === undefined) {
    const named = typeof upstream === 'string' && isServiceName(upstream)
    return named && !(isRecord(upstreams) && Object.hasOwn(upstreams, upstream)) ? upstream : undefined
  }

  const transcoder = Object.hasOwn(transcoders, grpc) ? transcoders[grpc] : undefined
  if (!isRecord(transcoder) || transcoder['address'] !== undefined) return undefined
  const service = transcoder['upstream'] ?? upstream
  return typeof service === 'string' ? service : undefined
}
