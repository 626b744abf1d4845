import { randomBytes } from 'node:crypto'
import { HttpProblem, isSame } from '@shop/platform'
import type { Context, MiddlewareHandler } from 'hono'
import { getCookie, setCookie } from 'hono/cookie'

export interface Access {
  /** Lets in who shows the token or came by the link, and changes only from this shop's own pages. */
  readonly guard: MiddlewareHandler
  /** Takes the code of the link for a cookie, once. */
  enter(context: Context): Response
}

const cookie = 'shop_operations'
const changing = new Set(['POST', 'PUT', 'PATCH', 'DELETE'])

/** `code`: of the one link that lets a browser in without the token. */
export function createAccess(token: string, code?: string): Access {
  const sessions = new Set<string>()
  let unused = code

  return {
    async guard(context, next) {
      const session = getCookie(context, cookie)
      const bearer = context.req.header('authorization') ?? ''
      if (!isSame(bearer, `Bearer ${token}`) && !(session !== undefined && sessions.has(session))) {
        throw new HttpProblem({
          status: 401,
          title: 'Unauthorized',
          detail: 'send the OPS_TOKEN as a bearer token, or open the link that the shop printed when it started',
          headers: { 'www-authenticate': 'Bearer' },
        })
      }
      if (changing.has(context.req.method)) checkChange(context)
      await next()
    },

    enter(context) {
      const given = context.req.query('code') ?? ''
      if (unused === undefined || !isSame(given, unused)) {
        throw new HttpProblem({ status: 401, title: 'Unauthorized', detail: 'this link was used before, or is none' })
      }

      unused = undefined
      const session = randomBytes(24).toString('base64url')
      sessions.add(session)
      setCookie(context, cookie, session, { httpOnly: true, sameSite: 'Strict', path: '/ops' })
      return context.redirect('/ops/topology', 303)
    },
  }
}

/** A page of somebody else's can send a form with our cookie, but no JSON without being asked where it comes from. */
function checkChange(context: Context): void {
  const { req } = context
  const origin = req.header('origin')
  const site = req.header('sec-fetch-site')
  const foreign = origin !== undefined && hostOf(origin) !== req.header('host')
  if (foreign || (site !== undefined && site !== 'same-origin' && site !== 'none')) {
    throw new HttpProblem({ status: 403, title: 'Forbidden', detail: 'changes are taken from this origin only' })
  }

  const type = req.header('content-type')
  // A DELETE says all of it in its address, and no form can send one.
  if (req.method === 'DELETE' && type === undefined) return
  if (!/^application\/json\s*(;|$)/i.test(type ?? '')) {
    throw new HttpProblem({
      status: 415,
      title: 'Unsupported Media Type',
      detail: 'a change is sent as application/json',
    })
  }
}

function hostOf(origin: string): string | undefined {
  return URL.canParse(origin) ? new URL(origin).host : undefined
}
