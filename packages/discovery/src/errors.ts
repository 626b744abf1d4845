const NO_ENDPOINTS = Symbol.for('msx.discovery.NoEndpointsError')
const DISCOVERY_CLOSED = Symbol.for('msx.discovery.DiscoveryClosedError')
const REGISTRY = Symbol.for('msx.discovery.RegistryError')

/**
 * There is nobody to send a request to: the source does not know the service, could not be asked (see `cause`), lists no
 * endpoint for it, or every endpoint was excluded.
 */
export class NoEndpointsError extends Error {
  readonly code: 'MSX_NO_ENDPOINTS' = 'MSX_NO_ENDPOINTS'
  /** The service that was asked for. */
  readonly service: string

  constructor(service: string, reason: string, options?: ErrorOptions) {
    super(`No endpoint for service "${service}": ${reason}`, options)
    this.service = service
  }

  static {
    brand(NoEndpointsError, 'NoEndpointsError', NO_ENDPOINTS)
  }
}

/** The discovery was closed; it hands out no endpoints any more. */
export class DiscoveryClosedError extends Error {
  readonly code: 'MSX_DISCOVERY_CLOSED' = 'MSX_DISCOVERY_CLOSED'

  constructor() {
    super('The discovery is closed. Close it last, after whatever sends requests through it.')
  }

  static {
    brand(DiscoveryClosedError, 'DiscoveryClosedError', DISCOVERY_CLOSED)
  }
}

/** A registry of services did not answer (see `cause`), refused (see `status`), or gave an answer that makes no sense. */
export class RegistryError extends Error {
  readonly code: 'MSX_REGISTRY' = 'MSX_REGISTRY'
  /** The HTTP status it refused with. */
  declare readonly status?: number

  constructor(message: string, options?: ErrorOptions & { readonly status?: number | undefined }) {
    super(message, options)
    if (options?.status !== undefined) this.status = options.status
  }

  static {
    brand(RegistryError, 'RegistryError', REGISTRY)
  }
}

/** Whether a value is a NoEndpointsError, of this copy of the package or another. */
export function isNoEndpointsError(value: unknown): value is NoEndpointsError {
  return isBranded(value, NO_ENDPOINTS)
}

/** Whether a value is a DiscoveryClosedError, of this copy of the package or another. */
export function isDiscoveryClosedError(value: unknown): value is DiscoveryClosedError {
  return isBranded(value, DISCOVERY_CLOSED)
}

/** Whether a value is a RegistryError, of this copy of the package or another. */
export function isRegistryError(value: unknown): value is RegistryError {
  return isBranded(value, REGISTRY)
}

/** Marks a class so that it is recognised across copies of the package, and names its instances. */
function brand(type: abstract new (...args: never[]) => Error, name: string, symbol: symbol): void {
  Object.defineProperty(type.prototype, symbol, { value: true })
  Object.defineProperty(type.prototype, 'name', { value: name, configurable: true, writable: true })
}

function isBranded(value: unknown, brand: symbol): boolean {
  return typeof value === 'object' && value !== null && (value as Record<symbol, unknown>)[brand] === true
}
