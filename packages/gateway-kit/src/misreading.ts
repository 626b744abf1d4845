import type { AuthPolicy, RateLimitPolicy } from './config.js'
import { parsePattern } from './pattern.js'
import { createRouter, type Routable, takes } from './router.js'
import { same } from './same.js'

/** What stands before a route. */
export interface Protected extends Routable {
  readonly auth?: AuthPolicy | false | undefined
  readonly rateLimit?: RateLimitPolicy | false | undefined
  readonly exactPath?: boolean | undefined
}

/** Whether an upstream may take a path for one of another route, whose protection this one does not have. */
export type Misreading<R> = (route: R, method: string, host: string | undefined, path: string) => boolean

/** Nothing else reads in more than one way: beyond ASCII every character has a capital in its encoding, as has `%3B`. */
const ambiguous = /[A-Z;]/

/** What stands for what: letters of either case, where `ı` and `K` have a partner in ASCII in one direction only; */
const fold = (segment: string): string => segment.toUpperCase().toLowerCase()
/** a segment with parameters for one without. */
const bare = (segment: string): string => (segment.includes(';') ? segment.slice(0, segment.indexOf(';')) : segment)
const readings = [fold, bare, (segment: string): string => fold(bare(segment))]

/**
 * Many servers take `/Admin` for `/admin` (Express, IIS), and `/admin;x=1` for `/admin` (servlet containers). Routed as
 * it is written, such a path may end at a route with fewer guards than what its upstream is going to serve. So it is
 * routed once more as they would read it, and refused where that route asks for a token, a limit or a method that this
 * one does not ask for.
 *
 * Nothing to ask where all routes are protected alike.
 */
export function createMisreading<R extends Protected>(routes: readonly R[]): Misreading<R> | undefined {
  if (routes.every((route) => covers(routes[0]!, route) && covers(route, routes[0]!))) return undefined

  const routers = readings.map((read) => createRouter(routes, read))
  // Then '/admin' is a misspelling of '/Admin', too.
  const always = routes.some(({ path }) =>
    parsePattern(path).some((segment) => segment.kind === 'static' && fold(bare(segment.text)) !== segment.text),
  )

  return function mayBeMisread(route, method, host, path) {
    if (route.exactPath === true || !(always || ambiguous.test(path))) return false

    return routers.some((router) => isWeaker(route, router.owners(host, path), method))
  }
}

/** Whether one of the routes, of which any may be the one that is meant, is guarded by what `route` is not guarded by. */
function isWeaker(route: Protected, owners: readonly Protected[], method: string): boolean {
  if (owners.length === 0 || owners.includes(route)) return false

  const others = owners.filter((one) => takes(one, method) || (method === 'HEAD' && takes(one, 'GET')))
  return others.length === 0 || !others.every((other) => covers(route, other))
}

/** Whether who may pass `route` may pass `other` as well. */
function covers(route: Protected, other: Protected): boolean {
  return (!other.auth || same(route.auth, other.auth)) && (!other.rateLimit || same(route.rateLimit, other.rateLimit))
}
