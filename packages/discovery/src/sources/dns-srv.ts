import type { SrvRecord } from 'node:dns'
import type { Resolver } from 'node:dns/promises'
import { type Addresses, isNobody, resolveAddresses } from '../dns/addresses.js'
import { type DnsOptions, readDnsOptions } from '../dns/options.js'
import { type Lookup, pollingSource } from '../dns/poll.js'
import type { EndpointInit } from '../endpoint.js'
import type { Source } from '../source.js'

/**
 * Services by their SRV records (RFC 2782): host, port, priority and weight. The targets' addresses are asked of the same
 * servers, A first and AAAA where there is none, and their TTL says when to ask again, within `minInterval` and
 * `maxInterval`: Node does not tell that of SRV records. A name that does not exist is a service that has nobody; a server
 * that fails or does not answer leaves what was known in use.
 *
 * Throws a TypeError for a wrong option.
 *
 * @example
 * ```ts
 * const source = dnsSrv({ servers: ['127.0.0.1:8600'], name: (service) => `${service}.service.consul` })
 * ```
 */
export function dnsSrv(options: DnsOptions = {}): Source {
  return pollingSource(readDnsOptions(options), createSrvLookup)
}

/** How many targets are asked for at the same time: hundreds of packets at once are lost. */
const CONCURRENCY = 16

function createSrvLookup(resolver: Resolver): Lookup {
  let known: Map<string, Addresses> = new Map()

  return async (name) => {
    const records = await resolveSrv(resolver, name)
    const targets = [...new Set(records.map((record) => record.name))]
    known = await resolveTargets(resolver, targets, known)

    const ttls = [...known.values()].map((addresses) => addresses.ttl)
    const endpoints = records.flatMap((record) => toEndpoints(record, known))
    return { endpoints, ttl: ttls.length === 0 ? 0 : Math.min(...ttls) }
  }
}

/** The records that can be used: a target "." says that the service is decidedly not available, and nobody has port 0. */
async function resolveSrv(resolver: Resolver, name: string): Promise<readonly SrvRecord[]> {
  try {
    const records = await resolver.resolveSrv(name)
    return records.filter((record) => record.name !== '' && record.name !== '.' && record.port !== 0)
  } catch (error) {
    if (isNobody(error)) return []
    throw error
  }
}

/**
 * The addresses of all targets. One that cannot be asked for must not hide what became of the others: it keeps the
 * addresses of before, if it has any. Rejects when none can be asked for.
 */
async function resolveTargets(
  resolver: Resolver,
  targets: readonly string[],
  before: ReadonlyMap<string, Addresses>,
): Promise<Map<string, Addresses>> {
  const resolved = new Map<string, Addresses>()
  const failures: unknown[] = []
  const waiting = targets.values()

  const work = async () => {
    for (const target of waiting) {
      try {
        resolved.set(target, await resolveAddresses(resolver, target))
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ECANCELLED') throw error

        failures.push(error)
        const known = before.get(target)
        if (known !== undefined) resolved.set(target, { ...known, ttl: 0 })
      }
    }
  }
  await Promise.all(Array.from({ length: Math.min(CONCURRENCY, targets.length) }, work))
  if (failures.length > 0 && failures.length === targets.length) throw failures[0]
  return resolved
}

/** A target with several addresses shares its weight among them. */
function toEndpoints({ name, port, priority, weight }: SrvRecord, known: Map<string, Addresses>): EndpointInit[] {
  const addresses = known.get(name)?.addresses ?? []
  return addresses.map((host) => ({ host, port, priority, weight: weight / addresses.length }))
}
