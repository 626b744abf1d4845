import type { ServiceName } from './service-names.js'

// What a shop's things are called on servers that it may share with other shops: all of it begins with the shop's name.

/** The database of a service, and the role that owns it. */
export function databaseOf(shop: string, service: ServiceName): string {
  return `${shop}_${service.replaceAll('-', '_')}`
}

/** The topic exchange of its events. */
export function exchangeOf(shop: string): string {
  return `${shop}.events`
}

/** What the names of its queues begin with. */
export function queuePrefixOf(shop: string): string {
  return `${shop}.`
}

/** One process of a service, as Consul knows it: no two processes have the same, however soon one follows the other. */
export function instanceId(shop: string, service: ServiceName, pid: number): string {
  return `${shop}-${service}-${pid}`
}

/** What the HTTP of a service that is called in another way is entered as, beside it: an SRV record has room for one port. */
export function httpNameOf(serviceOrInstance: string): string {
  return `${serviceOrInstance}-http`
}
