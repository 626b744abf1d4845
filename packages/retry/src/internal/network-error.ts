/**
 * How `fetch` words "the network failed", for which the standard demands a TypeError and leaves the message open. Any
 * other TypeError is a mistake in the program, which no retry mends.
 */
const MESSAGES = [
  'fetch failed', // Node, Cloudflare Workers
  'terminated', // Node, while the body is read
  'Failed to fetch', // Chrome, msw
  'network error', // Chrome, while the body is read
  'NetworkError when attempting to fetch resource', // Firefox
  'Load failed', // Safari
  'The network connection was lost', // Safari
  'The Internet connection appears to be offline', // Safari
  'Network request failed', // React Native, whatwg-fetch
  'error sending request', // Deno
]

/** Codes of system calls and of undici: ECONNRESET, ENOTFOUND, EAI_AGAIN, UND_ERR_SOCKET. Not Node's own ERR_…. */
const NETWORK_CODE = /^(E(?!RR_)[A-Z_]+|UND_ERR_(?!INVALID_ARG|NOT_SUPPORTED)[A-Z_]+)$/

export function isNetworkError(error: TypeError): boolean {
  const { code } = Object(error.cause) as { code?: unknown }
  if (typeof code === 'string') return NETWORK_CODE.test(code)

  return MESSAGES.some((message) => error.message.startsWith(message))
}
