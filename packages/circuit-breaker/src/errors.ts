/** A Symbol.for brand lets the guards recognise errors made by another copy of this package. */
const REJECTION = Symbol.for('@msx/circuit-breaker.rejection')

/**
 * What all rejections of this package have in common. The brand is put on here, once, so that a bundler can leave out the
 * classes that nobody uses.
 */
abstract class Rejection extends Error {
  static {
    Object.defineProperty(Rejection.prototype, REJECTION, { value: true })
  }
}

/** Why a circuit rejected a call. */
export type RejectingState = 'open' | 'half-open' | 'isolated'

/** What a {@link CircuitOpenError} tells. */
export interface CircuitOpenDetails {
  readonly circuit: string
  readonly state: RejectingState
  /** Milliseconds. */
  readonly retryAfter: number
  /** The last failure the circuit saw. */
  readonly cause?: unknown
}

/** The circuit did not let the call through; the operation was not called. `cause` is the last failure it saw. */
export class CircuitOpenError extends Rejection {
  static readonly code: 'MSX_CIRCUIT_OPEN' = 'MSX_CIRCUIT_OPEN'

  override readonly name = 'CircuitOpenError'
  readonly code: 'MSX_CIRCUIT_OPEN' = 'MSX_CIRCUIT_OPEN'
  /** The name of the circuit. */
  readonly circuit: string
  /** `half-open`: the trials are taken; `isolated`: shut by hand. */
  readonly state: RejectingState
  /**
   * Milliseconds until the circuit lets a trial through. 0 while half-open, when a running trial decides; the first open
   * duration while isolated, when only a human knows.
   */
  readonly retryAfter: number

  constructor({ circuit, state, retryAfter, cause }: CircuitOpenDetails) {
    super(rejection(circuit, state, retryAfter), cause === undefined ? undefined : { cause })
    this.circuit = circuit
    this.state = state
    this.retryAfter = retryAfter
  }
}

/**
 * Makes an error without the frames of its stack: to capture them costs more than all else that a rejection does, and a
 * rejection comes in thousands. The limit is put back before anybody else can run; where it is fixed, the frames stay.
 */
export function withoutFrames<E extends Error>(make: () => E): E {
  const limit = Error.stackTraceLimit
  Reflect.set(Error, 'stackTraceLimit', 0)
  try {
    const error = make()
    // Bun then leaves the stack out altogether, and whoever logs an error expects text there.
    if (!('stack' in error)) Reflect.set(error, 'stack', String(error))
    return error
  } finally {
    Reflect.set(Error, 'stackTraceLimit', limit)
  }
}

/** Whether a circuit breaker made this error, whichever copy of the package it came from. */
export function isCircuitOpenError(error: unknown): error is CircuitOpenError {
  return isRejection(error, 'MSX_CIRCUIT_OPEN')
}

/** What a {@link BulkheadFullError} tells. */
export interface BulkheadFullDetails {
  readonly bulkhead: string
  readonly concurrency: number
  readonly queue: number
  /** Milliseconds the call waited in the queue before it gave up; absent when it found the queue full. */
  readonly waited?: number | undefined
}

/** No room in the bulkhead: all slots and queue places taken, or none came free in time. The operation was not called. */
export class BulkheadFullError extends Rejection {
  static readonly code: 'MSX_BULKHEAD_FULL' = 'MSX_BULKHEAD_FULL'

  override readonly name = 'BulkheadFullError'
  readonly code: 'MSX_BULKHEAD_FULL' = 'MSX_BULKHEAD_FULL'
  /** The name of the bulkhead. */
  readonly bulkhead: string
  /** How many calls may run at once. */
  readonly concurrency: number
  /** How many calls may wait. */
  readonly queue: number
  /** Milliseconds the call waited in the queue before it gave up; undefined when it found the queue full. */
  readonly waited: number | undefined

  constructor({ bulkhead, concurrency, queue, waited }: BulkheadFullDetails) {
    const full = `${concurrency} running, ${queue} waiting`
    super(`Bulkhead "${bulkhead}" ${waited === undefined ? `is full (${full})` : `had no room for ${waited} ms`}`)
    this.bulkhead = bulkhead
    this.concurrency = concurrency
    this.queue = queue
    this.waited = waited
  }
}

/** Whether a bulkhead made this error, whichever copy of the package it came from. */
export function isBulkheadFullError(error: unknown): error is BulkheadFullError {
  return isRejection(error, 'MSX_BULKHEAD_FULL')
}

/** What a {@link ThrottledError} tells. */
export interface ThrottledDetails {
  readonly throttle: string
  /** 0 to 1. */
  readonly rejectionRate: number
}

/** The throttle rejected this call, by chance, because too many failed lately. The operation was not called. */
export class ThrottledError extends Rejection {
  static readonly code: 'MSX_THROTTLED' = 'MSX_THROTTLED'

  override readonly name = 'ThrottledError'
  readonly code: 'MSX_THROTTLED' = 'MSX_THROTTLED'
  /** The name of the throttle. */
  readonly throttle: string
  /** With what probability a call was rejected, 0 to 1. */
  readonly rejectionRate: number

  constructor({ throttle, rejectionRate }: ThrottledDetails) {
    super(`Throttle "${throttle}" rejects ${Math.round(rejectionRate * 100)} % of calls`)
    this.throttle = throttle
    this.rejectionRate = rejectionRate
  }
}

/** Whether an adaptive throttle made this error, whichever copy of the package it came from. */
export function isThrottledError(error: unknown): error is ThrottledError {
  return isRejection(error, 'MSX_THROTTLED')
}

function rejection(circuit: string, state: RejectingState, retryAfter: number): string {
  if (state === 'isolated') return `Circuit "${circuit}" is isolated by hand`
  if (state === 'half-open') return `Circuit "${circuit}" is half-open and its trials are taken`
  return `Circuit "${circuit}" is open, next trial in ${Math.ceil(retryAfter)} ms`
}

function isRejection(error: unknown, code: string): boolean {
  if (typeof error !== 'object' || error === null) return false
  return REJECTION in error && (error as { readonly code?: unknown }).code === code
}
