import { type Captures, parsePattern, type Segment } from './pattern.js'
import { parseTarget } from './target.js'

/** A target with the names of the route's pattern (`/users/:id`, `/v2/**`), or a function from path to path. */
export type Rewrite = string | ((path: string) => string)

/** Turns the path a request came with into the one it is forwarded with. */
export type Rewriter = (path: string, capture: () => Captures) => string

/** Reads a rewrite; throws a TypeError when it uses what the pattern does not have. */
export function compileRewrite(rewrite: Rewrite, pattern: readonly Segment[]): Rewriter {
  if (typeof rewrite === 'function') return (path) => checked(rewrite(path))

  const target = parsePattern(rewrite)
  checkNames(target, pattern, rewrite)
  const slash = rewrite.length > 1 && rewrite.endsWith('/') ? '/' : ''
  if (target.every((segment) => segment.kind === 'static')) return () => rewrite

  return (_path, capture) => fill(target, capture(), slash)
}

function checkNames(target: readonly Segment[], pattern: readonly Segment[], rewrite: string): void {
  const missing = target.find(
    (segment) => segment.kind === 'param' && !pattern.some((one) => one.kind === 'param' && one.name === segment.name),
  )
  if (missing?.kind === 'param')
    throw new TypeError(`'${rewrite}' uses ':${missing.name}', which the path does not have`)

  for (const kind of ['star', 'rest'] as const) {
    if (count(target, kind) > count(pattern, kind)) {
      throw new TypeError(`'${rewrite}' has more '${kind === 'star' ? '*' : '**'}' than the path`)
    }
  }
}

const count = (segments: readonly Segment[], kind: Segment['kind']): number =>
  segments.filter((segment) => segment.kind === kind).length

function fill(target: readonly Segment[], { params, stars, rest }: Captures, slash: string): string {
  let path = ''
  let star = 0

  for (const segment of target) {
    if (segment.kind === 'static') path += `/${encodeURIComponent(segment.text)}`
    else if (segment.kind === 'param') path += `/${params[segment.name]}`
    else if (segment.kind === 'star') path += `/${stars[star++]}`
    else path += rest
  }

  return `${path}${slash}` || '/'
}

/** A function may do anything, so its result passes the checks an incoming target passes. */
function checked(rewritten: unknown): string {
  const target = typeof rewritten === 'string' ? parseTarget(rewritten) : undefined
  if (target === undefined || 'status' in target)
    throw new TypeError(`the rewrite gave ${String(rewritten)}, a path was expected`)

  return target.path + target.query
}
