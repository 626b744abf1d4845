import { parsePattern, type Segment } from '../pattern.js'

/** A pattern as a regular expression of Kong's: anchored, a name per part that is taken, the last slash as one likes. */
export function kongPath(pattern: readonly Segment[]): string {
  if (pattern.length === 0) return '~/$'

  const group = groupNames(pattern)
  let star = 0
  const parts = pattern.map((segment) => {
    if (segment.kind === 'static') return `/${literally(encodeURI(segment.text))}`
    if (segment.kind === 'param') return `/(?<${segment.name}>[^/]+)`
    if (segment.kind === 'star') return `/(?<${group(`star${++star}`)}>[^/]+)`
    return `(?<${group('rest')}>/.*)?`
  })

  return `~${parts.join('')}${pattern.at(-1)?.kind === 'rest' ? '' : '/?'}$`
}

/** What a wildcard is called, beside the parameters, which have names of their own. */
function groupNames(pattern: readonly Segment[]): (name: string) => string {
  const taken = pattern.flatMap((segment) => (segment.kind === 'param' ? [segment.name] : []))

  return (name) => (taken.includes(name) ? groupNames(pattern)(`${name}_`) : name)
}

const literally = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')

/** A rewrite with Kong's words for what a path has given. */
export function kongTarget(rewrite: string, pattern: readonly Segment[], basePath: string): string {
  const group = groupNames(pattern)
  let star = 0
  const parts = parsePattern(rewrite).map((segment) => {
    if (segment.kind === 'static') return `/${encodeURIComponent(segment.text)}`
    if (segment.kind === 'param') return `/$(uri_captures["${segment.name}"])`
    if (segment.kind === 'star') return `/$(uri_captures["${group(`star${++star}`)}"])`
    return pattern.at(-1)?.kind === 'rest' ? `$(uri_captures["${group('rest')}"] or "")` : ''
  })

  return `${basePath}${parts.join('')}` || '/'
}

/** The hosts with a wildcard, the shortest first: here the longest one that fits is asked before any path is. */
export function wildcardsOf(routes: readonly { readonly host?: string | undefined }[]): readonly string[] {
  const hosts = routes.flatMap(({ host }) => (host?.startsWith('*.') === true ? [host] : []))

  return [...new Set(hosts)].sort((a, b) => a.length - b.length)
}

/** How many segments count. */
const DEEPEST = 12

/** Kong has room for so many. */
const MOST_WILDCARDS = 127

/**
 * Which of two regular expressions that both fit Kong takes: the first segments count most, a name before a wildcard, and
 * above all of them the place of the host among those with a wildcard, from 0; -1 for others.
 */
export function priorityOf(pattern: readonly Segment[], wildcard = -1): number {
  const weight = { static: 3, param: 2, star: 1, rest: 0 }
  const segments = Array.from({ length: DEEPEST }, (_, index) => pattern[index])
  const ofHost = Math.min(MOST_WILDCARDS, Math.max(0, wildcard))

  // Where a path has ended, nothing can be more exact; where it goes on for ever, everything is.
  return segments.reduce((sum, segment) => sum * 4 + (segment === undefined ? 3 : weight[segment.kind]), ofHost)
}
