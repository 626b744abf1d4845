import { parsePattern, type Segment } from '../pattern.js'

/** A pattern as a regular expression of Kong's: anchored, a name per part that is taken, the last slash as one likes. */
export function kongPath(pattern: readonly Segment[]): string {
  if (pattern.length === 0) return '~/$'

  let star = 0
  const parts = pattern.map((segment) => {
    if (segment.kind === 'static') return `/${literally(encodeURI(segment.text))}`
    if (segment.kind === 'param') return `/(?<${segment.name}>[^/]+)`
    if (segment.kind === 'star') return `/(?<star${++star}>[^/]+)`
    return '(?<rest>/.*)?'
  })

  return `~${parts.join('')}${pattern.at(-1)?.kind === 'rest' ? '' : '/?'}$`
}

const literally = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')

/** A rewrite with Kong's words for what a path has given. */
export function kongTarget(rewrite: string, pattern: readonly Segment[], basePath: string): string {
  let star = 0
  const parts = parsePattern(rewrite).map((segment) => {
    if (segment.kind === 'static') return `/${encodeURIComponent(segment.text)}`
    if (segment.kind === 'param') return `/$(uri_captures["${segment.name}"])`
    if (segment.kind === 'star') return `/$(uri_captures["star${++star}"])`
    return pattern.at(-1)?.kind === 'rest' ? '$(uri_captures["rest"] or "")' : ''
  })

  return `${basePath}${parts.join('')}` || '/'
}

/** Which of two regular expressions that both fit Kong takes: the first segments count most, a name before a wildcard. */
export function priorityOf(pattern: readonly Segment[]): number {
  const weight = { static: 3, param: 2, star: 1, rest: 0 }
  const deepest = 12
  const segments: readonly (Segment | undefined)[] = [...pattern.slice(0, deepest), ...Array(deepest)].slice(0, deepest)

  // Where a path has ended, nothing can be more exact; where it goes on for ever, everything is.
  return segments.reduce((sum, segment) => sum * 4 + (segment === undefined ? 3 : weight[segment.kind]), 0)
}
