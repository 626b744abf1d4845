import type { RouteConfig } from '../config.js'
import { parsePattern, type Segment } from '../pattern.js'

/** What a route that takes every method is in Kong, where it has to name them. */
const everyMethod = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']

/** Methods of a path that no route of it takes, and that a wider route would take in Kong. */
export interface Unowned {
  readonly route: RouteConfig
  readonly methods: readonly string[]
}

/**
 * Kong looks first at how many kinds of conditions a route has: one that names methods comes before all that do not,
 * whatever their paths. So all of them name methods, or none does.
 */
export function nameMethods(routes: readonly RouteConfig[]): (route: RouteConfig) => readonly string[] | undefined {
  const named = routes.some(({ methods }) => methods !== undefined)

  return (route) => methodsOf(route) ?? (named ? everyMethod : undefined)
}

/** `GET` includes `HEAD`, and a page asks leave by `OPTIONS`, which the plugin `cors` answers. */
function methodsOf({ methods, cors }: RouteConfig): readonly string[] | undefined {
  if (methods === undefined) return undefined

  return [...new Set([...methods, ...(methods.includes('GET') ? ['HEAD'] : []), ...(cors ? ['OPTIONS'] : [])])]
}

/** Here the most exact path owns all its methods; in Kong those it does not take fall to a wider one, which may be public. */
export function unownedOf(routes: readonly RouteConfig[]): Unowned[] {
  const byPath = new Map<string, RouteConfig[]>()
  for (const route of routes) byPath.set(placeOf(route), [...(byPath.get(placeOf(route)) ?? []), route])

  return [...byPath].flatMap(([place, [route, ...others]]) => {
    const taken = [route!, ...others].map(methodsOf)
    const methods = everyMethod.filter((method) => taken.every((some) => some?.includes(method) === false))
    const wider = routes.some((other) => placeOf(other) !== place && mayMeet(route!, other))

    return methods.length > 0 && wider ? [{ route: route!, methods }] : []
  })
}

/** The same for all routes that are compared by their methods alone. */
const placeOf = ({ host, path }: RouteConfig): string =>
  JSON.stringify([
    host?.toLowerCase(),
    parsePattern(path).map((segment) => (segment.kind === 'static' ? segment.text : [segment.kind])),
  ])

function mayMeet(one: RouteConfig, other: RouteConfig): boolean {
  const { host } = other
  if (host !== undefined && !host.startsWith('*.') && host.toLowerCase() !== one.host?.toLowerCase()) return false

  return overlap(parsePattern(one.path), parsePattern(other.path))
}

/** Whether there is a path that both fit. */
function overlap([a, ...moreA]: readonly Segment[], [b, ...moreB]: readonly Segment[]): boolean {
  if (a?.kind === 'rest' || b?.kind === 'rest') return true
  if (a === undefined || b === undefined) return a === b
  if (a.kind === 'static' && b.kind === 'static' && a.text !== b.text) return false

  return overlap(moreA, moreB)
}
