/**
 * The language of paths: `/users/me` is static, `/users/:id` takes one segment by name, `/files/*` takes one without,
 * and `/files/**` takes what is left, be it nothing.
 */
export type Segment =
  | { readonly kind: 'static'; readonly text: string }
  | { readonly kind: 'param'; readonly name: string }
  | { readonly kind: 'star' }
  | { readonly kind: 'rest' }

/** What a pattern took from a path, as it stands in the path (still percent-encoded). */
export interface Captures {
  readonly params: Readonly<Record<string, string>>
  readonly stars: readonly string[]
  /** With its leading slash, or empty. */
  readonly rest: string
}

const name = /^[A-Za-z_]\w*$/

/** Reads a pattern; throws a TypeError that says what is wrong with it. */
export function parsePattern(pattern: string): readonly Segment[] {
  if (!pattern.startsWith('/')) throw new TypeError(`a path that begins with '/' is expected, got '${pattern}'`)
  if (/[?#\s\\]/.test(pattern))
    throw new TypeError(`a path without query, hash or spaces is expected, got '${pattern}'`)

  const segments = splitPath(pattern).map(parseSegment)
  const names = segments.flatMap((segment) => (segment.kind === 'param' ? [segment.name] : []))
  const twice = names.find((one, index) => names.indexOf(one) !== index)
  if (twice !== undefined) throw new TypeError(`':${twice}' stands twice in '${pattern}'`)

  const rest = segments.findIndex((segment) => segment.kind === 'rest')
  if (rest !== -1 && rest !== segments.length - 1) throw new TypeError(`'**' must come last, got '${pattern}'`)

  return segments
}

function parseSegment(text: string): Segment {
  if (text === '') throw new TypeError('a path without empty segments is expected')
  if (text === '*') return { kind: 'star' }
  if (text === '**') return { kind: 'rest' }
  if (text.startsWith(':')) {
    if (!name.test(text.slice(1))) throw new TypeError(`'${text}' is no name of a parameter`)
    return { kind: 'param', name: text.slice(1) }
  }
  if (text.includes('*')) throw new TypeError(`'${text}' mixes a wildcard with text`)
  if (text === '.' || text === '..') throw new TypeError('a path without dot segments is expected')

  return { kind: 'static', text: decodeSegment(text) }
}

/** The segments of a path; a slash at its end makes none. */
export function splitPath(path: string): string[] {
  const end = path.length > 1 && path.endsWith('/') ? path.length - 1 : path.length

  return end === 1 ? [] : path.slice(1, end).split('/')
}

/** What a segment means; matching compares meanings, so that no spelling of a name gets around its route. */
export function decodeSegment(segment: string): string {
  return segment.includes('%') ? decodeURIComponent(segment) : segment
}

/** What a pattern takes from a path it matches. */
export function capture(pattern: readonly Segment[], path: string): Captures {
  const segments = splitPath(path)
  const params: Record<string, string> = {}
  const stars: string[] = []
  let rest = ''

  for (const [index, segment] of pattern.entries()) {
    if (segment.kind === 'param') params[segment.name] = segments[index]!
    else if (segment.kind === 'star') stars.push(segments[index]!)
    else if (segment.kind === 'rest') rest = restOf(path, segments, index)
  }

  return { params, stars, rest }
}

function restOf(path: string, segments: readonly string[], from: number): string {
  const rest = segments.slice(from)
  const slash = path.length > 1 && path.endsWith('/') ? '/' : ''

  return rest.length === 0 ? slash : `/${rest.join('/')}${slash}`
}
