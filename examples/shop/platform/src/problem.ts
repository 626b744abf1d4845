import type { Context } from 'hono'
import type { z } from 'zod'

export interface ProblemFields {
  readonly status: number
  readonly title: string
  /** What happened to this request, for the person who sent it. */
  readonly detail: string
  readonly headers?: Readonly<Record<string, string>> | undefined
  /** Further members of the problem. */
  readonly more?: Readonly<Record<string, unknown>> | undefined
}

/** An error with an answer: thrown anywhere in a handler, sent as an RFC 9457 problem. */
export class HttpProblem extends Error {
  override readonly name = 'HttpProblem'
  readonly problem: ProblemFields

  constructor(problem: ProblemFields) {
    super(problem.detail)
    this.problem = problem
  }

  toResponse(): Response {
    const { status, title, detail, headers, more } = this.problem
    return new Response(JSON.stringify({ type: 'about:blank', title, status, detail, ...more }), {
      status,
      headers: { 'content-type': 'application/problem+json', ...headers },
    })
  }
}

export function notFound(what: string): HttpProblem {
  return new HttpProblem({ status: 404, title: 'Not Found', detail: `there is no ${what} here` })
}

/** The service that was asked for did not answer; the caller may come back. `retryAfter` in milliseconds. */
export function unavailable(service: string, retryAfter = 1_000): HttpProblem {
  const seconds = Math.max(1, Math.ceil(retryAfter / 1_000))
  return new HttpProblem({
    status: 503,
    title: 'Service Unavailable',
    detail: `${service} does not answer; try again in ${seconds} s`,
    headers: { 'retry-after': String(seconds) },
  })
}

export interface QuotaUsedUp {
  /** The name of the policy in the headers. */
  readonly name: string
  readonly limit: number
  /** Milliseconds, as all below. */
  readonly window: number
  readonly resetAfter: number
  readonly retryAfter: number
  readonly detail: string
}

/** Whoever asks has asked too often: 429, with the headers and the type that the gateway's own limits answer with. */
export function quotaUsedUp({ name, limit, window, resetAfter, retryAfter, detail }: QuotaUsedUp): HttpProblem {
  const seconds = (ms: number) => Math.max(1, Math.ceil(ms / 1_000))
  return new HttpProblem({
    status: 429,
    title: 'Quota exceeded',
    detail,
    headers: {
      'retry-after': String(seconds(retryAfter)),
      'ratelimit-policy': `"${name}";q=${limit};w=${seconds(window)}`,
      ratelimit: `"${name}";r=0;t=${seconds(resetAfter)}`,
    },
    more: {
      type: 'https://iana.org/assignments/http-problem-types#quota-exceeded',
      'violated-policies': [name],
    },
  })
}

const utf8 = new TextDecoder('utf-8', { fatal: true })

/** The request's JSON body as the schema understands it: 400 when it is no JSON, 422 when it is not of the shape. */
export async function readJson<S extends z.ZodType>(context: Context, schema: S): Promise<z.output<S>> {
  const type = context.req.header('content-type') ?? ''
  if (!/^application\/json\s*(;|$)/i.test(type)) {
    throw new HttpProblem({
      status: 415,
      title: 'Unsupported Media Type',
      detail: `the body must be application/json, not '${type}'`,
    })
  }

  const encoding = context.req.header('content-encoding') ?? 'identity'
  if (encoding !== 'identity') {
    throw new HttpProblem({
      status: 415,
      title: 'Unsupported Media Type',
      detail: `the body must be sent as it is, not as '${encoding}'`,
      headers: { 'accept-encoding': 'identity' },
    })
  }

  const bytes = await context.req.arrayBuffer()
  let body: unknown
  try {
    // Bytes that are no UTF-8 would all be read as the same character, and two passwords as one.
    body = JSON.parse(utf8.decode(bytes))
  } catch {
    throw new HttpProblem({ status: 400, title: 'Bad Request', detail: 'the body is not valid JSON' })
  }

  const parsed = schema.safeParse(body)
  if (parsed.success) return parsed.data

  const issues = parsed.error.issues.map((issue) => ({ path: issue.path.join('.'), message: issue.message }))
  const first = issues[0]
  const detail =
    first === undefined ? 'the body is not of the expected shape' : `${first.path || 'body'}: ${first.message}`
  throw new HttpProblem({ status: 422, title: 'Unprocessable Content', detail, more: { issues } })
}

/** How many a page asks for by `?limit=`: a whole number from 1, cut to `most`; 422 for anything else. */
export function limitOf(context: Context, { usual, most }: { readonly usual: number; readonly most: number }): number {
  const text = context.req.query('limit')
  if (text === undefined || text === '') return usual

  const limit = Number(text)
  if (Number.isInteger(limit) && limit >= 1) return Math.min(limit, most)
  throw new HttpProblem({
    status: 422,
    title: 'Unprocessable Content',
    detail: `limit is '${text}'; expected a whole number, 1 or more`,
  })
}
