import type { IncomingMessage } from 'node:http'

/** What a verifier found in a token. */
export interface Claims {
  readonly sub?: string | undefined
  readonly [claim: string]: unknown
}

/**
 * Looks into a token. Whatever it throws means 401, unless the error's `status` is 503: then nobody could tell, and the
 * client may come back later.
 */
export interface Verify {
  (token: string, req: IncomingMessage): Claims | Promise<Claims>
  /** The header the token is in, in lower case. Default `authorization`, as a bearer token. */
  readonly header?: string | undefined
}

/** In all their depth: they are shared by all who come with the same token. */
export function freezeClaims<T extends object>(claims: T): T {
  const left: object[] = [claims]
  for (let one = left.pop(); one !== undefined; one = left.pop()) {
    Object.freeze(one)
    for (const value of Object.values(one)) if (!Object.isFrozen(value)) left.push(value)
  }

  return claims
}
