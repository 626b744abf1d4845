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
