import type { Service } from 'protobufjs'
import { isRecord, show } from '../internal/checks.js'
import { decodeSegment, splitPath } from '../pattern.js'

const verbs = ['get', 'put', 'post', 'delete', 'patch'] as const

/** Which request becomes a call: the members of google.api.HttpRule, in camel case. */
export interface HttpRule {
  readonly get?: string | undefined
  readonly put?: string | undefined
  readonly post?: string | undefined
  readonly delete?: string | undefined
  readonly patch?: string | undefined
  /** What the body is: `*` all of the message, else the name of a field. Default: there is none. */
  readonly body?: string | undefined
  /** The field of the response that is answered. Default: all of it. */
  readonly responseBody?: string | undefined
  readonly additionalBindings?: readonly HttpRule[] | undefined
}

/** A piece of a path template. */
type Piece = { readonly kind: 'static'; readonly text: string } | { readonly kind: 'one' } | { readonly kind: 'rest' }

/** A part of the path that goes into a field. */
interface Variable {
  readonly field: readonly string[]
  readonly from: number
  /** Exclusive; undefined: to the end. */
  readonly to: number | undefined
}

export interface Binding {
  readonly rpc: string
  readonly method: string
  readonly template: string
  readonly pieces: readonly Piece[]
  readonly variables: readonly Variable[]
  readonly verb: string | undefined
  readonly body: string | undefined
  readonly responseBody: string | undefined
}

export interface Match {
  readonly binding: Binding
  /** Texts for fields, decoded. */
  readonly captured: readonly (readonly [field: readonly string[], value: string])[]
}

/**
 * The bindings of a service: those of its `google.api.http` options, with what `rules` says in their place.
 *
 * @throws {TypeError} naming the method and what is wrong with its rule.
 */
export function readBindings(service: Service, rules: Readonly<Record<string, HttpRule | string>>): Binding[] {
  for (const name of Object.keys(rules)) {
    if (Object.hasOwn(service.methods, name)) continue

    const names = service.methodsArray.map((method) => method.name).join(', ')
    throw new TypeError(`transcode: rules has '${name}', which is no method of ${service.name}; there are: ${names}`)
  }

  const bindings = service.methodsArray.flatMap((method) => {
    const rule = Object.hasOwn(rules, method.name) ? rules[method.name] : annotated(method.parsedOptions)
    return rule === undefined ? [] : readRule(method.name, rule)
  })
  const twins = bindings.find(
    (one, index) => bindings.findIndex((other) => other.method === one.method && shape(other) === shape(one)) !== index,
  )
  if (twins !== undefined) {
    throw new TypeError(`transcode: ${twins.method} ${twins.template} is bound twice, the second time to ${twins.rpc}`)
  }

  return bindings.sort((a, b) => rank(b) - rank(a))
}

function annotated(options: unknown): HttpRule | undefined {
  const list = Array.isArray(options) ? options : []
  const found: unknown = list.find((option) => isRecord(option) && '(google.api.http)' in option)

  return isRecord(found) ? (found['(google.api.http)'] as HttpRule) : undefined
}

const ruleMembers = new Set([...verbs, 'body', 'responseBody', 'additionalBindings'])

function readRule(rpc: string, rule: unknown): Binding[] {
  if (typeof rule === 'string') return [shortForm(rpc, rule)]
  if (!isRecord(rule)) throw wrongRule(rpc, `an object such as { post: '/orders' }, or 'POST /orders'`, rule)

  const members = Object.fromEntries(Object.entries(rule).map(([name, value]) => [camelCase(name), value]))
  const odd = Object.keys(members).find((name) => !ruleMembers.has(name) && name !== 'selector')
  if (odd !== undefined) throw new TypeError(`transcode: the rule of ${rpc} has '${odd}', which is not supported`)

  const said = verbs.filter((verb) => members[verb] !== undefined)
  if (said.length !== 1) throw new TypeError(`transcode: the rule of ${rpc} must have one of ${verbs.join(', ')}`)

  const { body, responseBody, additionalBindings = [] } = members
  for (const [name, value] of Object.entries({ body, responseBody })) {
    if (value !== undefined && typeof value !== 'string') throw wrongRule(rpc, `a text as its ${name}`, value)
  }
  const more = Array.isArray(additionalBindings) ? additionalBindings : [additionalBindings]

  return [
    createBinding(
      rpc,
      said[0]!,
      members[said[0]!],
      (body as string) || undefined,
      (responseBody as string) || undefined,
    ),
    ...more.flatMap((one) => readRule(rpc, one)),
  ]
}

/** `POST /orders/:id`: what has a body by custom takes all of the message from it. */
function shortForm(rpc: string, rule: string): Binding {
  const [, method, path] = /^(GET|PUT|POST|DELETE|PATCH) (\/\S*)$/.exec(rule) ?? []
  if (method === undefined) throw wrongRule(rpc, "a method and a path such as 'POST /orders'", rule)

  const template = path!.replace(/:([A-Za-z_][\w.]*)/g, '{$1}')
  return createBinding(rpc, method, template, method === 'GET' || method === 'DELETE' ? undefined : '*', undefined)
}

function createBinding(
  rpc: string,
  verb: string,
  template: unknown,
  body: string | undefined,
  responseBody: string | undefined,
): Binding {
  if (typeof template !== 'string') throw wrongRule(rpc, `a path after ${verb}`, template)

  const method = verb.toUpperCase()
  return { rpc, method, template, body, responseBody, ...parseTemplate(rpc, template) }
}

const wrongRule = (rpc: string, expected: string, got: unknown): TypeError =>
  new TypeError(`transcode: the rule of ${rpc} must be ${expected}, got ${show(got)}`)

const camelCase = (name: string): string => name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase())

/** `/v1/{name=shelves/*}/books/{book.id}:read` */
function parseTemplate(rpc: string, template: string): Pick<Binding, 'pieces' | 'variables' | 'verb'> {
  const wrong = (why: string): TypeError => new TypeError(`transcode: the path '${template}' of ${rpc} ${why}`)
  const [, path = '', verb] = /^(.*?)(?::([A-Za-z_]\w*))?$/s.exec(template) ?? []
  if (!path.startsWith('/')) throw wrong("must begin with '/'")

  const pieces: Piece[] = []
  const variables: Variable[] = []
  const take = (text: string): void => {
    for (const segment of text.split('/')) pieces.push(parsePiece(segment, wrong))
  }
  for (const segment of splitOutsideBraces(path.slice(1))) {
    const [, name, sub] = /^\{([^=}]+)(?:=([^}]*))?\}$/.exec(segment) ?? []
    if (name === undefined) {
      if (/[{}]/.test(segment)) throw wrong('has a variable that is not a whole segment')
      take(segment)
      continue
    }
    if (!/^[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*$/.test(name)) throw wrong(`has a variable '${name}', which names no field`)

    const from = pieces.length
    take(sub ?? '*')
    const to = pieces.at(-1)?.kind === 'rest' ? undefined : pieces.length
    variables.push({ field: name.split('.'), from, to })
  }

  const rest = pieces.findIndex((piece) => piece.kind === 'rest')
  if (rest !== -1 && rest !== pieces.length - 1) throw wrong("has '**' before its end")
  return { pieces, variables, verb }
}

/** Outside of braces a slash separates; inside it belongs to the variable. */
function splitOutsideBraces(path: string): string[] {
  const segments = ['']
  let inside = false
  for (const character of path) {
    if (character === '/' && !inside) segments.push('')
    else segments.push(segments.pop()! + character)
    if (character === '{') inside = true
    else if (character === '}') inside = false
  }

  return path === '' ? [] : segments
}

function parsePiece(segment: string, wrong: (why: string) => TypeError): Piece {
  if (segment === '*') return { kind: 'one' }
  if (segment === '**') return { kind: 'rest' }
  if (segment === '') throw wrong('has an empty segment')
  if (/[*{}?#\s\\]/.test(segment)) throw wrong(`has a segment '${segment}', which is not valid`)

  return { kind: 'static', text: decodeSegment(segment) }
}

const shape = ({ pieces, verb = '' }: Binding): string =>
  JSON.stringify([pieces.map((piece) => (piece.kind === 'static' ? piece.text : { [piece.kind]: 1 })), verb])

/** What is said more exactly is looked at first; of the first segments most depends. */
function rank({ pieces, verb }: Binding): number {
  const weights = pieces
    .slice(0, 20)
    .map(({ kind }, index) => (kind === 'static' ? 2 : kind === 'one' ? 1 : 0) * 3 ** (20 - index))

  return weights.reduce((sum, weight) => sum + weight, verb === undefined ? 0 : 1)
}

/** Finds the call that a request asks for: undefined when no path fits, the methods there are when another one does. */
export function matchBinding(
  bindings: readonly Binding[],
  method: string,
  path: string,
): Match | readonly string[] | undefined {
  const segments = splitPath(path)
  const allowed = new Set<string>()

  for (const binding of bindings) {
    const own = withoutVerb(segments, binding.verb)
    if (own === undefined || !fits(binding.pieces, own)) continue
    if (binding.method === method || (binding.method === 'GET' && method === 'HEAD')) {
      return {
        binding,
        captured: binding.variables.map(({ field, from, to }) => [field, text(own, from, to)] as const),
      }
    }

    allowed.add(binding.method)
    if (binding.method === 'GET') allowed.add('HEAD')
  }

  return allowed.size === 0 ? undefined : [...allowed].sort()
}

function withoutVerb(segments: readonly string[], verb: string | undefined): readonly string[] | undefined {
  if (verb === undefined) return segments

  const last = segments.at(-1)
  if (last === undefined || !last.endsWith(`:${verb}`)) return undefined
  return [...segments.slice(0, -1), last.slice(0, -verb.length - 1)]
}

function fits(pieces: readonly Piece[], segments: readonly string[]): boolean {
  const open = pieces.at(-1)?.kind === 'rest'
  if (open ? segments.length < pieces.length - 1 : segments.length !== pieces.length) return false

  return pieces.every((piece, index) => piece.kind !== 'static' || piece.text === decodeSegment(segments[index]!))
}

const text = (segments: readonly string[], from: number, to: number | undefined): string =>
  segments.slice(from, to).map(decodeSegment).join('/')
