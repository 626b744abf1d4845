import { decodeSegment, parsePattern, type Segment } from './pattern.js'

/** What the router needs to know of a route. */
export interface Routable {
  readonly path: string
  /** An exact name, or `*.example.com` for any name below it. Default: every host. */
  readonly host?: string | undefined
  /** Default: every method. `GET` includes `HEAD`. */
  readonly methods?: readonly string[] | undefined
}

export type Match<R> =
  | { readonly kind: 'found'; readonly route: R }
  | { readonly kind: 'method'; readonly allow: readonly string[] }
  | { readonly kind: 'none' }

/** A table of routes; it never changes, a reload makes a new one. */
export interface Router<R extends Routable> {
  /** `path` is in normal form, `host` as the header gives it. */
  match(method: string, host: string | undefined, path: string): Match<R>
  /** The routes of the most specific path, whatever their methods. */
  owners(host: string | undefined, path: string): readonly R[]
}

interface Node<R> {
  readonly statics: Map<string, Node<R>>
  param: Node<R> | undefined
  star: Node<R> | undefined
  /** Routes that end here, and routes that take whatever follows. */
  readonly here: R[]
  readonly rest: R[]
}

const makeNode = <R>(): Node<R> => ({ statics: new Map(), param: undefined, star: undefined, here: [], rest: [] })

/**
 * Precedence: the host first (exact, then the longest wildcard, then none), then the path, segment by segment (static
 * before `:param` before `*` before `**`), then the method. The most specific path owns all its methods: another
 * method on it is a 405, not a chance for a wider pattern that may be guarded less.
 *
 * @param spell One spelling for all segments that are to be taken for the same. Default: each is its own.
 */
export function createRouter<R extends Routable>(
  routes: readonly R[],
  spell: (segment: string) => string = asWritten,
): Router<R> {
  const exact = new Map<string, Node<R>>()
  const wildcards = new Map<string, Node<R>>()
  const anyHost = makeNode<R>()

  for (const route of routes) insert(rootFor(route.host), parsePattern(route.path).map(respell), route)
  const suffixes = [...wildcards].sort(([a], [b]) => b.length - a.length)

  function rootFor(host: string | undefined): Node<R> {
    if (host === undefined) return anyHost

    const name = host.toLowerCase()
    const [map, key] = name.startsWith('*.') ? [wildcards, name.slice(1)] : [exact, name]
    const root = map.get(key) ?? makeNode<R>()
    map.set(key, root)
    return root
  }

  function respell(segment: Segment): Segment {
    return segment.kind === 'static' ? { kind: 'static', text: spell(segment.text) } : segment
  }

  const read = (segment: string): string => spell(decodeSegment(segment))

  function findRoutes(host: string | undefined, path: string): readonly R[] | undefined {
    // A slash at the end makes no segment, and neither does the path that is nothing else.
    const end = path.length > 1 && path.endsWith('/') ? path.length - 1 : path.length
    const at = end === 1 ? end + 1 : 1
    if (exact.size > 0 || suffixes.length > 0) {
      const name = hostName(host)
      const root = exact.get(name)
      const found = root && find(root, path, at, end, read)
      if (found) return found

      for (const [suffix, wildcard] of suffixes) {
        const below = name.endsWith(suffix) && name.length > suffix.length
        const routes = below ? find(wildcard, path, at, end, read) : undefined
        if (routes) return routes
      }
    }

    return find(anyHost, path, at, end, read)
  }

  return {
    match(method, host, path) {
      const found = findRoutes(host, path)
      if (found === undefined) return { kind: 'none' }

      const route = taking(found, method) ?? (method === 'HEAD' ? taking(found, 'GET') : undefined)
      return route === undefined ? { kind: 'method', allow: allowed(found) } : { kind: 'found', route }
    },
    owners: (host, path) => findRoutes(host, path) ?? [],
  }
}

const asWritten = (segment: string): string => segment

function insert<R>(root: Node<R>, pattern: readonly Segment[], route: R): void {
  let node = root
  for (const segment of pattern) {
    if (segment.kind === 'rest') {
      node.rest.push(route)
      return
    }
    node = step(node, segment)
  }
  node.here.push(route)
}

function step<R>(node: Node<R>, segment: Exclude<Segment, { kind: 'rest' }>): Node<R> {
  if (segment.kind === 'param') {
    node.param ??= makeNode()
    return node.param
  }
  if (segment.kind === 'star') {
    node.star ??= makeNode()
    return node.star
  }

  const next = node.statics.get(segment.text) ?? makeNode<R>()
  node.statics.set(segment.text, next)
  return next
}

/** A segment is cut off where it is compared: `at` is where the next one begins; beyond `end` there is none. */
function find<R>(
  node: Node<R>,
  path: string,
  at: number,
  end: number,
  read: (segment: string) => string,
): readonly R[] | undefined {
  if (at > end) {
    if (node.here.length > 0) return node.here
    return node.rest.length > 0 ? node.rest : undefined
  }

  const slash = path.indexOf('/', at)
  const stop = slash === -1 || slash > end ? end : slash
  const fixed = node.statics.size === 0 ? undefined : node.statics.get(read(path.slice(at, stop)))
  const found =
    (fixed && find(fixed, path, stop + 1, end, read)) ??
    (node.param && find(node.param, path, stop + 1, end, read)) ??
    (node.star && find(node.star, path, stop + 1, end, read))
  if (found) return found

  return node.rest.length > 0 ? node.rest : undefined
}

function taking<R extends Routable>(routes: readonly R[], method: string): R | undefined {
  for (const route of routes) if (takes(route, method)) return route

  return undefined
}

export function takes(route: Routable, method: string): boolean {
  return route.methods === undefined || route.methods.includes(method)
}

export function allowed(routes: readonly Routable[]): string[] {
  const methods = new Set(routes.flatMap((route) => route.methods ?? []))
  if (methods.has('GET')) methods.add('HEAD')

  return [...methods].sort()
}

/** The name of a Host header: without port, without the root's dot, in lower case. */
export function hostName(host: string | undefined): string {
  if (host === undefined) return ''

  return host.replace(/:\d*$/, '').replace(/\.$/, '').toLowerCase()
}
