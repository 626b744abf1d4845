const TIMEOUT_BRAND = Symbol.for('@msx/retry/TimeoutError')

/** A call took longer than its {@link timeout}. The operation's signal was aborted with this error as its reason. */
export class TimeoutError extends Error {
  static {
    // On the prototype and by Symbol.for, so that the guard holds across two copies of the package.
    Object.defineProperty(TimeoutError.prototype, TIMEOUT_BRAND, { value: true })
    Object.defineProperty(TimeoutError.prototype, 'name', { value: 'TimeoutError', configurable: true, writable: true })
  }

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
  return typeof error === 'object' && error !== null && TIMEOUT_BRAND in error
}

const STATUS_BRAND = Symbol.for('@msx/retry/HttpStatusError')

/**
 * What the policies of {@link resilientFetch} see when a response has one of the `retryOn` statuses. The caller of the
 * fetch never does: it gets the response.
 */
export class HttpStatusError<R extends { readonly status: number } = Response> extends Error {
  static {
    Object.defineProperty(HttpStatusError.prototype, STATUS_BRAND, { value: true })
    Object.defineProperty(HttpStatusError.prototype, 'name', {
      value: 'HttpStatusError',
      configurable: true,
      writable: true,
    })
  }

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
  return typeof error === 'object' && error !== null && STATUS_BRAND in error
}
