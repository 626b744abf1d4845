import type * as Undici from 'undici'
import type { Discovery } from '../discovery.js'
import { isDiscoveryClosedError, isNoEndpointsError } from '../errors.js'
import { undici } from './peer.js'
import { ServiceDispatcher, type ServiceDispatcherOptions } from './service-dispatcher.js'

/**
 * A `fetch` whose hosts are services: `fetch('http://user-service/api/users/1')` goes to an endpoint of user-service.
 *
 * It is undici's fetch (of the installed package, not the one inside Node) on a ServiceDispatcher of its own, and takes what
 * the global fetch takes. When there is nobody to send the request to it rejects with NoEndpointsError; otherwise it fails
 * as fetch does, with a TypeError whose `cause` is the reason. Its connections are closed with the discovery.
 *
 * @example
 * ```ts
 * const fetch = serviceFetch(discovery)
 * const response = await fetch('http://user-service/api/users/1')
 * ```
 */
export function serviceFetch(discovery: Discovery, options?: ServiceDispatcherOptions): typeof fetch {
  const dispatcher = new ServiceDispatcher(discovery, options)

  return async function fetch(input: unknown, init?: unknown): Promise<Response> {
    const [resource, settings] = toUndici(input, init as Undici.RequestInit | undefined)

    try {
      const response = await undici.fetch(resource, { ...settings, dispatcher })
      return response as unknown as Response // the same interface, declared twice
    } catch (error) {
      throw reasonOf(error)
    }
  }
}

/** fetch wraps every failure alike. Those that are about the discovery come out as they are. */
function reasonOf(error: unknown): unknown {
  const cause = error instanceof TypeError ? error.cause : undefined
  return isNoEndpointsError(cause) || isDiscoveryClosedError(cause) ? cause : error
}

/** undici's fetch knows its own Request and FormData only; those of Node's global fetch are other classes. */
function toUndici(input: unknown, init: Undici.RequestInit = {}): [Undici.RequestInfo, Undici.RequestInit] {
  const settings = init.body instanceof globalThis.FormData ? { ...init, body: toFormData(init.body) } : init
  if (!isForeignRequest(input)) return [input as Undici.RequestInfo, settings]

  const { url, method, headers, body, redirect, signal, credentials, keepalive, integrity } = input
  const own = { method, headers, body, redirect, signal, credentials, keepalive, integrity, duplex: 'half' }
  return [url, { ...(own as Undici.RequestInit), ...settings }]
}

function isForeignRequest(input: unknown): input is Request {
  return input instanceof globalThis.Request && !(input instanceof undici.Request)
}

function toFormData(form: FormData): Undici.FormData {
  const copy = new undici.FormData()
  for (const [name, value] of form) {
    if (typeof value === 'string') copy.append(name, value)
    else copy.append(name, value, value.name)
  }
  return copy
}
