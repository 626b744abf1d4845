import { resolveAddresses } from '../dns/addresses.js'
import { type DnsOptions, readDnsOptions } from '../dns/options.js'
import { pollingSource } from '../dns/poll.js'
import { wrongOption } from '../internal/options.js'
import type { Source } from '../source.js'

export interface DnsAOptions extends DnsOptions {
  /** The port of every instance: an A record has none. */
  readonly port: number
}

/**
 * Services by their A records, or AAAA where there are none: one endpoint per address, all with the same port. Asked again
 * after 80 % of the TTL, within `minInterval` and `maxInterval`. A name that does not exist is a service that has nobody;
 * a server that fails or does not answer leaves what was known in use.
 *
 * Throws a TypeError for a wrong option.
 *
 * @example
 * ```ts
 * const source = dnsA({ port: 3000, name: (service) => `${service}.default.svc.cluster.local` })
 * ```
 */
export function dnsA(options: DnsAOptions): Source {
  const settings = readDnsOptions(options)
  const { port } = options
  if (!Number.isInteger(port) || port < 1 || port > 65_535) throw wrongOption('port', port, 'between 1 and 65535')

  return pollingSource(settings, (resolver) => async (name) => {
    const { addresses, ttl } = await resolveAddresses(resolver, name)
    return { endpoints: addresses.map((host) => ({ host, port })), ttl }
  })
}
