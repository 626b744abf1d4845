import type { Claims } from './claims.js'
import { listOfStrings } from './internal/checks.js'

/** What a token must say before its bearer may pass; whom it does not say it of gets a 403. */
export interface Permissions {
  /** All of them: in the claim `scope` (texts with spaces between, RFC 8693) or `scp`. */
  readonly scopes?: readonly string[] | undefined
  /** One of them: in the claim `roles` or `role`. */
  readonly roles?: readonly string[] | undefined
}

/** Whether the claims have all the scopes, and one of the roles. */
export function permits(claims: Claims, { scopes, roles }: Permissions): boolean {
  if (scopes !== undefined) {
    const given = new Set([...texts(own(claims, 'scope'), ' '), ...texts(own(claims, 'scp'), ' ')])
    if (!scopes.every((scope) => given.has(scope))) return false
  }
  if (roles === undefined) return true

  const given = new Set([...texts(own(claims, 'roles')), ...texts(own(claims, 'role'))])
  return roles.some((role) => given.has(role))
}

/** Only what the token itself says: nothing that its object inherits. */
const own = (claims: Claims, name: string): unknown => (Object.hasOwn(claims, name) ? claims[name] : undefined)

function texts(claim: unknown, separator?: string): readonly string[] {
  if (Array.isArray(claim)) return claim.filter((item) => typeof item === 'string')
  if (typeof claim !== 'string') return []

  return separator === undefined ? [claim] : claim.split(separator)
}

/** What is wrong with a list of scopes, which stand in a header, or nothing. */
export function checkScopes(scopes: unknown): string | undefined {
  // RFC 6749, 3.3
  const valid =
    listOfStrings(scopes) === undefined &&
    (scopes as string[]).every((scope) => /^[\x21\x23-\x5b\x5d-\x7e]+$/.test(scope))

  return valid ? undefined : 'a non-empty list of scopes, without spaces or quotes'
}
