import { decodeSegment, parsePattern, type Segment, splitPath } from './pattern.js'

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
 */
export function createRouter<R extends Routable>(routes: readonly R[]): Router<R> {
  const exact = new Map<string, Node<R>>()
  const wildcards = new Map<string, Node<R>>()
  const anyHost = makeNode<R>()

  for (const route of routes) insert(rootFor(route.host), parsePattern(route.path), route)
  const suffixes = [...wildcards].sort(([a], [b]) => b.length - a.length)

  function rootFor(host: string | undefined): Node<R> {
    if (host === undefined) return anyHost

    const name = host.toLowerCase()
    const [map, key] = name.startsWith('*.') ? [wildcards, name.slice(1)] : [exact, name]
    const root = map.get(key) ?? makeNode<R>()
    map.set(key, root)
    return root
  }

  function findRoutes(host: string | undefined, segments: readonly string[]): readonly R[] | undefined {
    if (exact.size > 0 || suffixes.length > 0) {
      const name = hostName(host)
      const root = exact.get(name)
      const found = root && find(root, segments, 0)
      if (found) return found

      for (const [suffix, wildcard] of suffixes) {
        const below = name.endsWith(suffix) && name.length > suffix.length ? find(wildcard, segments, 0) : undefined
        if (below) return below
      }
    }

    return find(anyHost, segments, 0)
  }

  return {
    match(method, host, path) {
      const found = findRoutes(host, splitPath(path).map(decodeSegment))
      if (found === undefined) return { kind: 'none' }

      const route =
        found.find((one) => takes(one, method)) ??
        (method === 'HEAD' ? found.find((one) => takes(one, 'GET')) : undefined)
      return route === undefined ? { kind: 'method', allow: allowed(found) } : { kind: 'found', route }
    },
  }
}

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

function find<R>(node: Node<R>, segments: readonly string[], depth: number): readonly R[] | undefined {
  const segment = segments[depth]
  if (segment === undefined) {
    if (node.here.length > 0) return node.here
    return node.rest.length > 0 ? node.rest : undefined
  }

  const fixed = node.statics.get(segment)
  const found =
    (fixed && find(fixed, segments, depth + 1)) ??
    (node.param && find(node.param, segments, depth + 1)) ??
    (node.star && find(node.star, segments, depth + 1))
  if (found) return found

  return node.rest.length > 0 ? node.rest : undefined
}

function takes(route: Routable, method: string): boolean {
  return route.methods === undefined || route.methods.includes(method)
}

function allowed(routes: readonly Routable[]): string[] {
  const methods = new Set(routes.flatMap((route) => route.methods ?? []))
  if (methods.has('GET')) methods.add('HEAD')

  return [...methods].sort()
}

/** The name of a Host header: without port, without the root's dot, in lower case. */
export function hostName(host: string | undefined): string {
  if (host === undefined) return ''

  return host.replace(/:\d*$/, '').replace(/\.$/, '').toLowerCase()
}
