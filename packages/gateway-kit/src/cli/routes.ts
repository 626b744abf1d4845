import type { IncomingMessage } from 'node:http'
import { constant, exponential, retryBudget } from '@msx/retry'
import { authOf } from '../authenticate.js'
import { type RouteConfig, routeId } from '../config.js'
import { aString, isRecord, show } from '../internal/checks.js'
import { addressOf } from '../rate-limit.js'
import type { Issues } from './issues.js'
import type { Parts } from './parts.js'

type Said = Readonly<Record<string, unknown>>
type Key = (req: IncomingMessage) => string

/** Makes a limiter in Redis for a route, and returns the name it is known by. */
export type LimitInRedis = (id: string, limit: Said, path: string) => Promise<string | undefined>

/**
 * The routes of a file as `createGateway` takes them: what is a function or an object there is said in words here. What
 * is wrong in other ways is left for the check of the whole config, which names its place.
 */
export async function readRoutes(
  { routes, defaults, ...rest }: Said,
  parts: Parts,
  issues: Issues,
  limitInRedis: LimitInRedis,
): Promise<Record<string, unknown>> {
  const plain = isRecord(defaults) ? await readRetry(defaults, 'defaults', parts, issues) : defaults
  const common = isRecord(plain) ? plain : {}
  const read = async (route: unknown, index: number): Promise<unknown> => {
    if (!isRecord(route)) return route

    const own = await readRetry(route, `routes[${index}]`, parts, issues)
    const merged = { ...common, ...own }
    const path = own['rateLimit'] === undefined ? 'defaults.rateLimit' : `routes[${index}].rateLimit`
    const limit = merged['rateLimit']
    if (!isRecord(limit)) return own

    const rateLimit = await readLimit(limit, merged, path, issues, limitInRedis)
    return rateLimit === undefined ? own : { ...own, rateLimit }
  }

  return {
    ...rest,
    ...(routes !== undefined && {
      // One after the other: the first of two of the same name is the one that is kept.
      routes: Array.isArray(routes) ? await inTurn(routes, read) : routes,
    }),
    ...(defaults !== undefined && { defaults: withoutWords(plain) }),
  }
}

async function inTurn(
  list: readonly unknown[],
  read: (item: unknown, index: number) => Promise<unknown>,
): Promise<unknown[]> {
  const results: unknown[] = []
  for (const [index, item] of list.entries()) results.push(await read(item, index))

  return results
}

/** Every route that has no limit of its own gets the default one in full; what is left of it is there to be checked. */
function withoutWords(defaults: unknown): unknown {
  if (!isRecord(defaults) || !isRecord(defaults['rateLimit'])) return defaults

  const { store: _, key: __, ...limit } = defaults['rateLimit']
  return { ...defaults, rateLimit: limit }
}

async function readLimit(
  { store, key, ...limit }: Said,
  route: Said,
  path: string,
  issues: Issues,
  limitInRedis: LimitInRedis,
): Promise<Said | undefined> {
  if (store !== undefined && store !== 'local' && store !== 'redis') {
    issues.add(`${path}.store`, `'local' or 'redis' was expected, got ${show(store)}`)
  }
  if (store !== undefined && limit['limiter'] !== undefined) {
    issues.add(`${path}.store`, `is the limiter's: say it in limiters.${String(limit['limiter'])}`)
  }
  const counted = key === undefined ? undefined : readKey(key, route, `${path}.key`, issues)
  const by = counted === undefined ? {} : { key: counted }
  if (store !== 'redis' || limit['limiter'] !== undefined) return { ...limit, ...by }

  const { cost, ...numbers } = limit
  const limiter = await limitInRedis(idOf(route), numbers, path)
  return limiter === undefined ? { ...limit, ...by } : { limiter, ...(cost !== undefined && { cost }), ...by }
}

/** `'address'`, which is the default, `'user'`, or `{ claim: 'tenant' }`. */
function readKey(key: unknown, route: Said, path: string, issues: Issues): Key | undefined {
  if (key === 'address') return undefined

  const claim = key === 'user' ? 'sub' : isRecord(key) && Object.keys(key).length === 1 ? key['claim'] : undefined
  if (aString(claim) !== undefined) {
    issues.add(path, `'address', 'user' or { claim: 'tenant' } was expected, got ${show(key)}`)
    return undefined
  }
  if (route['auth'] === undefined || route['auth'] === false) {
    issues.add(path, 'is about who was recognised, and the route has no auth')
    return undefined
  }
  return byClaim(claim as string)
}

/** Who has no such claim is counted by address: nobody goes uncounted. */
function byClaim(claim: string): Key {
  return function keyOfClaim(req) {
    const value = authOf(req)?.[claim]

    return value === undefined
      ? addressOf(req)
      : `${claim}:${typeof value === 'string' ? value : JSON.stringify(value)}`
  }
}

async function readRetry(route: Said, path: string, parts: Parts, issues: Issues): Promise<Said> {
  const { retry } = route
  if (!isRecord(retry)) return route

  const { backoff, budget, ...rest } = retry
  const wait =
    backoff === undefined
      ? undefined
      : await issues.attempt(`${path}.retry.backoff`, () =>
          isRecord(backoff) ? exponential(backoff) : constant(backoff as number),
        )
  const shared =
    budget === undefined
      ? undefined
      : await issues.attempt(`${path}.retry.budget`, () =>
          parts.keepOrMake(`retry budget of ${path === 'defaults' ? path : idOf(route)}`, budget, [], () =>
            retryBudget(budget as object),
          ),
        )
  return {
    ...route,
    retry: { ...rest, ...(wait !== undefined && { backoff: wait }), ...(shared !== undefined && { budget: shared }) },
  }
}

/** What a route is known by, as long as its methods are a list: if they are not, that is told elsewhere. */
function idOf({ methods, ...route }: Said): string {
  return routeId({ ...route, ...(Array.isArray(methods) && { methods }) } as unknown as RouteConfig)
}
