import type { Resolver } from 'node:dns/promises'
import { isIP } from 'node:net'

/** The addresses of a name, and how long they are good for. */
export interface Addresses {
  readonly addresses: readonly string[]
  /** Milliseconds; 0 when there are none. */
  readonly ttl: number
}

const NONE: Addresses = { addresses: [], ttl: 0 }

/**
 * The IPv4 addresses of a name, or, where it has none, its IPv6 addresses: with both, every instance would be there twice.
 * No addresses: the name does not exist, or has neither. Rejects when that is not certain (SERVFAIL, no answer).
 */
export async function resolveAddresses(resolver: Resolver, name: string): Promise<Addresses> {
  if (isIP(name) !== 0) return { addresses: [name], ttl: Number.POSITIVE_INFINITY }

  try {
    return fromRecords(await resolver.resolve4(name, { ttl: true }))
  } catch (error) {
    if (!isNobody(error)) throw error
    if (error.code === 'ENOTFOUND') return NONE
  }
  try {
    return fromRecords(await resolver.resolve6(name, { ttl: true }))
  } catch (error) {
    if (!isNobody(error)) throw error
    return NONE
  }
}

/** Whether a server has answered that there is nothing: NXDOMAIN, or no record of the kind. */
export function isNobody(error: unknown): error is Error & { readonly code: 'ENOTFOUND' | 'ENODATA' } {
  const code = (error as { code?: unknown } | null)?.code
  return code === 'ENOTFOUND' || code === 'ENODATA'
}

function fromRecords(records: readonly { readonly address: string; readonly ttl: number }[]): Addresses {
  if (records.length === 0) return NONE

  const addresses = [...new Set(records.map(({ address }) => address))]
  return { addresses, ttl: Math.min(...records.map(({ ttl }) => ttl)) * 1_000 }
}
