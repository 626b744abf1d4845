import { type EndpointInit, toEndpoint } from '../endpoint.js'
import { wrongOption } from '../internal/options.js'
import type { Source } from '../source.js'

/** Where a fixed service is: `http://host:port`, `host:port` (the request decides the scheme), or an endpoint in full. */
export type FixedAddress = string | EndpointInit

/**
 * A list that does not change.
 *
 * Throws a TypeError for an address nobody could connect to, or one with a path: an endpoint is a host and a port.
 *
 * @example
 * ```ts
 * const source = fixed({ 'user-service': ['http://127.0.0.1:3001', 'http://127.0.0.1:3002'] })
 * ```
 */
export function fixed(services: Readonly<Record<string, readonly FixedAddress[]>>): Source {
  if (typeof services !== 'object' || services === null) throw wrongOption('services', services, 'an object of lists')

  const known = new Map<string, readonly EndpointInit[]>()
  for (const [service, addresses] of Object.entries(services)) {
    if (!Array.isArray(addresses)) throw wrongOption(`services["${service}"]`, addresses, 'an array of addresses')
    known.set(service, addresses.map(checked))
  }

  return {
    watch(service, sink) {
      const endpoints = known.get(service)
      if (endpoints !== undefined) return sink.update(endpoints)

      const names = [...known.keys()].join(', ')
      sink.fail(new Error(`fixed() was given no service "${service}", only: ${names || 'none'}`))
    },
  }
}

function checked(address: FixedAddress): EndpointInit {
  const init = typeof address === 'string' ? parseAddress(address) : address
  toEndpoint(init) // throws for what no update would accept
  return init
}

function parseAddress(address: string): EndpointInit {
  const bare = !address.includes('://')
  const text = bare ? `http://${address}` : address
  const url = URL.canParse(text) ? new URL(text) : undefined
  const expected = 'an address such as http://127.0.0.1:3000 or 127.0.0.1:3000'

  if (url === undefined || (url.protocol !== 'http:' && url.protocol !== 'https:')) {
    throw wrongOption('address', address, expected)
  }
  if (url.pathname !== '/' || url.search !== '' || url.hash !== '' || url.username !== '' || url.password !== '') {
    throw wrongOption('address', address, `${expected}, without path, query or credentials`)
  }
  if (bare && url.port === '' && !address.endsWith(':80')) {
    throw wrongOption('address', address, `${expected}: without a scheme it needs a port`)
  }

  const port = Number(url.port || (url.protocol === 'https:' ? 443 : 80))
  const scheme = url.protocol === 'https:' ? 'https' : 'http'
  return { host: url.hostname, port, ...(!bare && { scheme }) }
}
