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

  let body: unknown
  try {
    body = JSON.parse(await context.req.text())
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
