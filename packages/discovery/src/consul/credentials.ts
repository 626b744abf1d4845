import { validateHeaderValue } from 'node:http'
import type { SecureContextOptions } from 'node:tls'

/** An ACL token, or where it comes from. */
export type TokenSource = string | (() => string | Promise<string>)

/** A part of the options of `tls.connect`. */
export interface ConsulTls extends Pick<SecureContextOptions, 'ca' | 'cert' | 'key' | 'passphrase'> {
  /** The name that Consul's certificate must have. Default: the host of the url. */
  readonly servername?: string
  /** false: accept any certificate. Default: true. */
  readonly rejectUnauthorized?: boolean
}

/** Throws a TypeError, which does not have the token in it. */
export function checkToken(token: unknown): string {
  const wrong = new TypeError('token must be a non-empty string that can be sent in a header') // without the secret
  if (typeof token !== 'string' || token === '') throw wrong
  try {
    validateHeaderValue('x-consul-token', token)
  } catch {
    throw wrong
  }
  return token
}
