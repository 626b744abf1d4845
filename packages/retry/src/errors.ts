import { safely } from './internal/safely.js'

/**
 * Error with a name, and with a brand by which its guard knows it also when it comes from another copy of the package.
 * Both are on the prototype. It takes a call, and not a static block, so that bundlers can drop the class nobody uses.
 */
function branded(name: string, brand: symbol): new (message: string) => Error {
  class BrandedError extends Error {}
  Object.defineProperty(BrandedError.prototype, brand, { value: true })
  Object.defineProperty(BrandedError.prototype, 'name', { value: name, configurable: true, writable: true })
  return BrandedError
}

function isBranded(error: unknown, brand: symbol): boolean {
  return safely(() => typeof error === 'object' && error !== null && brand in error, false)
}

const TIMEOUT: unique symbol = Symbol.for('@msx/retry/TimeoutError')
const NamedTimeoutError: new (message: string) => Error = /* @__PURE__ */ branded('TimeoutError', TIMEOUT)

/** A call took longer than its {@link timeout}. The operation's signal was aborted with this error as its reason. */
export class TimeoutError extends NamedTimeoutError {
  readonly code = 'MSX_TIMEOUT'
  /** The time the call was given, in milliseconds. */
  readonly timeout: number
  /** The `name` of the policy, when it has one. */
  readonly policy: string | undefined

  constructor(timeout: number, policy?: string) {
    super(`${policy === undefined ? 'Call' : `Call "${policy}"`} timed out after ${timeout} ms`)
    this.timeout = timeout
    this.policy = policy
  }
}

/** Whether `error` is a {@link TimeoutError}, of this copy of the package or of another. */
export function isTimeoutError(error: unknown): error is TimeoutError {
  return isBranded(error, TIMEOUT)
}

const HTTP_STATUS: unique symbol = Symbol.for('@msx/retry/HttpStatusError')
const NamedStatusError: new (message: string) => Error = /* @__PURE__ */ branded('HttpStatusError', HTTP_STATUS)

/**
 * What the policies of {@link resilientFetch} see when a response has one of the `retryOn` statuses. The caller of the
 * fetch never does: it gets the response.
 */
export class HttpStatusError<R extends { readonly status: number } = Response> extends NamedStatusError {
  readonly code = 'MSX_HTTP_STATUS'
  readonly status: number
  readonly response: R

  constructor(response: R) {
    super(`The server answered ${response.status}`)
    this.status = response.status
    this.response = response
  }
}

/** Whether `error` is an {@link HttpStatusError}, of this copy of the package or of another. */
export function isHttpStatusError(error: unknown): error is HttpStatusError {
  return isBranded(error, HTTP_STATUS)
}
