/**
 * How `fetch` words "the network failed", for which the standard demands a TypeError and leaves the message open. Any
 * other TypeError is a mistake in the program, which no retry mends.
 *
 * - Node: 'fetch failed' (Cloudflare too), 'terminated'
 * - Deno: 'error sending request', 'error reading a body from connection'
 * - Bun: words of its own, and the code on the error itself rather than on its cause
 * - Chrome: 'Failed to fetch', 'network error'
 * - Firefox: 'NetworkError when attempting to fetch resource'
 * - Safari: 'Load failed', 'The network connection was lost', 'The Internet connection appears to be offline'
 * - React Native: 'Network request failed'
 */
const MESSAGE =
  /^(fetch failed|terminated|error (sending request|reading a body)|failed to fetch|network ?error|load failed|the (network|internet) connection|network request failed)/i

/** Codes of system calls and of undici: ECONNRESET, ENOTFOUND, EAI_AGAIN, UND_ERR_SOCKET. Not Node's own ERR_…. */
const NETWORK_CODE = /^(E(?!RR_)[A-Z_]+|UND_ERR_(?!INVALID_ARG|NOT_SUPPORTED)[A-Z_]+)$/

export function isNetworkError(error: TypeError): boolean {
  const code = codeOf(error.cause) ?? codeOf(error)
  if (code !== undefined) return NETWORK_CODE.test(code)

  return MESSAGE.test(error.message)
}

function codeOf(value: unknown): string | undefined {
  const { code } = Object(value) as { code?: unknown }
  return typeof code === 'string' ? code : undefined
}
