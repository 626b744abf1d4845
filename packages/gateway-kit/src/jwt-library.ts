import { AuthError } from './errors.js'

export type { CryptoKey, JSONWebKeySet, JWSHeaderParameters, KeyObject } from 'jose'

/** All that jose exports. */
export type Jose = typeof import('jose')

/**
 * jose is an optional peer, so it is imported when it is needed: a static import that fails names a file of ours.
 *
 * @throws {AuthError} `MSX_AUTH_PEER_MISSING` when it is not installed.
 */
export async function importJose(): Promise<Jose> {
  try {
    return await import('jose')
  } catch (cause) {
    throw isNotInstalled(cause) ? missing(cause) : cause
  }
}

function isNotInstalled(error: unknown): boolean {
  const { code, message } = (error ?? {}) as { code?: unknown; message?: unknown }

  return code === 'ERR_MODULE_NOT_FOUND' && /['"]jose['"]/.test(String(message))
}

function missing(cause: unknown): AuthError {
  return new AuthError(
    'MSX_AUTH_PEER_MISSING',
    '@msx/gateway-kit/jwt needs the package jose, which is not installed: npm install jose',
    { cause },
  )
}
