import { Resolver } from 'node:dns/promises'
import { type Clock, systemClock } from '../clock.js'
import { checkCount, checkDuration, checkFunction, wrongOption } from '../internal/options.js'

/** Durations in milliseconds. */
export interface DnsOptions {
  /** The servers to ask: addresses, with a port where it is not 53 (`127.0.0.1:8600`). Default: the machine's. */
  readonly servers?: readonly string[] | undefined
  /**
   * The DNS name of a service, in full: search domains are not tried. Default: the service's name as it is.
   *
   * @example
   * ```ts
   * name: (service) => `${service}.service.consul`
   * ```
   */
  readonly name?: ((service: string) => string) | undefined
  /** How long a server has for its answer, in the first try; later tries have more. Default: 2_000. */
  readonly timeout?: number | undefined
  /** How often each server is asked, at least 1. Default: 2. */
  readonly tries?: number | undefined
  /** The shortest time between two questions, also where the TTL is shorter, or 0. Default: 5_000. */
  readonly minInterval?: number | undefined
  /** The longest time between two questions, also where the TTL is longer. Default: 30_000. */
  readonly maxInterval?: number | undefined
  /** Default: the process's monotonic clock. */
  readonly clock?: Clock | undefined
  /** A number from 0 up to but not including 1. Default: `Math.random`. */
  readonly random?: (() => number) | undefined
}

/** The options, checked and complete. */
export interface DnsSettings {
  /** A resolver of one watch's own: it can be cancelled without disturbing others. */
  createResolver(): Resolver
  readonly name: (service: string) => string
  readonly minInterval: number
  readonly maxInterval: number
  readonly clock: Clock
  readonly random: () => number
}

export function readDnsOptions(options: DnsOptions): DnsSettings {
  if (typeof options !== 'object' || options === null) throw wrongOption('options', options, 'an object')
  const { servers, name = (service) => service, timeout = 2_000, tries = 2 } = options
  const { minInterval = 5_000, maxInterval = 30_000, clock = systemClock, random = Math.random } = options

  checkFunction('name', name)
  checkFunction('random', random)
  if (typeof clock?.now !== 'function') throw wrongOption('clock', clock, 'an object with now()')
  if (checkDuration('timeout', timeout) < 1) throw wrongOption('timeout', timeout, 'at least 1 millisecond')
  if (checkCount('tries', tries) < 1) throw wrongOption('tries', tries, 'at least 1')
  if (checkDuration('minInterval', minInterval) < 1) {
    throw wrongOption('minInterval', minInterval, 'at least 1 millisecond')
  }
  if (checkDuration('maxInterval', maxInterval) < minInterval) {
    throw wrongOption('maxInterval', maxInterval, `at least minInterval, ${minInterval}`)
  }

  const createResolver = () => {
    const resolver = new Resolver({ timeout: Math.round(timeout), tries })
    if (servers !== undefined) resolver.setServers(servers)
    return resolver
  }
  checkServers(servers, createResolver)
  return { createResolver, name, minInterval, maxInterval, clock, random }
}

function checkServers(servers: readonly string[] | undefined, createResolver: () => Resolver): void {
  if (servers === undefined) return

  const expected = 'a non-empty array of IP addresses, each with or without a port'
  if (!Array.isArray(servers) || servers.length === 0) throw wrongOption('servers', servers, expected)
  try {
    createResolver()
  } catch {
    throw wrongOption('servers', servers.join(', '), expected)
  }
}
