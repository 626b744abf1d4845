import type { HttpBindings } from '@hono/node-server'
import { addressKey, type Clock, clientAddress, type TrustConfig } from '@msx/gateway-kit'
import { HttpProblem, isSame } from '@shop/platform'
import type { Context, MiddlewareHandler } from 'hono'
import { getCookie, setCookie } from 'hono/cookie'
import { createGuesses } from './guesses.js'
import type { OperationsLink } from './link.js'
import { createSessions, sessionLength } from './session.js'

export interface Access {
  /** Lets in who shows the token or came by the link, and changes only from this shop's own pages. */
  readonly guard: MiddlewareHandler
  /** Takes the code of the link for a cookie, once. */
  enter(context: Context): Promise<Response>
}

export interface AccessOptions {
  readonly token: string
  /** Lets a browser in without the token. Default: there is none. */
  readonly link?: OperationsLink | undefined
  /** Whose word on a client's address is taken. */
  readonly trust: TrustConfig
  readonly clock?: Clock | undefined
}

const cookie = 'shop_operations'
const changing = new Set(['POST', 'PUT', 'PATCH', 'DELETE'])

export function createAccess({ token, link, trust, clock }: AccessOptions): Access {
  const sessions = createSessions(token)
  const guesses = createGuesses(clock)
  const check = (context: Context, given: string, secret: string) =>
    guesses.check(addressOf(context, trust), () => isSame(given, secret))

  return {
    async guard(context, next) {
      const session = getCookie(context, cookie)
      const bearer = /^bearer +(.*)$/i.exec(context.req.header('authorization') ?? '')?.[1] ?? ''
      // Nobody guesses what a session is signed with; one that is over comes from whoever had it.
      const isIn =
        (session !== undefined && sessions.isOpen(session)) || (bearer !== '' && check(context, bearer, token))
      if (!isIn) {
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

    async enter(context) {
      const given = context.req.query('code') ?? ''
      const isRight = given !== '' && check(context, given, link?.code ?? '')
      if (!isRight || (await link?.use()) !== true) {
        throw new HttpProblem({ status: 401, title: 'Unauthorized', detail: 'this link was used before, or is none' })
      }

      setCookie(context, cookie, sessions.open(), {
        httpOnly: true,
        sameSite: 'Strict',
        path: '/ops',
        maxAge: sessionLength / 1_000,
      })
      return context.redirect('/ops/topology', 303)
    },
  }
}

function addressOf(context: Context, trust: TrustConfig): string {
  const { incoming } = context.env as HttpBindings
  return addressKey(clientAddress(incoming, trust))
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
