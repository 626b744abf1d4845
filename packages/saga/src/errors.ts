const brand = (code: string): symbol => Symbol.for(`msx.saga.${code}`)

/** What every error of this package has: a stable `code`, and a brand that survives two copies of the package. */
class SagaError extends Error {
  readonly code: string

  constructor(name: string, code: string, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = name
    this.code = code
    Object.defineProperty(this, brand(code), { value: true })
  }
}

/**
 * Thrown by a step to say: this attempt was surely not applied. The step is not tried again; the steps before it are
 * undone. Its own compensation runs only when an earlier attempt left it in doubt. A pivot has none, so thrown by it this
 * speaks for earlier attempts too: the other side has said no, and says no to this key from then on.
 */
export class StepRejectedError extends SagaError {
  declare readonly code: 'MSX_SAGA_STEP_REJECTED'

  constructor(message: string, options?: ErrorOptions) {
    super('StepRejectedError', 'MSX_SAGA_STEP_REJECTED', message, options)
  }
}

/**
 * Thrown by a step or a compensation to say: do not try again. Whether the step was applied is not known, so its own
 * compensation runs too.
 */
export class NonRetryableError extends SagaError {
  declare readonly code: 'MSX_SAGA_NON_RETRYABLE'

  constructor(message: string, options?: ErrorOptions) {
    super('NonRetryableError', 'MSX_SAGA_NON_RETRYABLE', message, options)
  }
}

/** A step has run to its end, and what it gave back cannot be kept. For the engine's own use. */
export class UnkeptResultError extends NonRetryableError {}

/** One attempt took longer than its `timeout`. Whether it was applied is not known. */
export class StepTimeoutError extends SagaError {
  declare readonly code: 'MSX_SAGA_STEP_TIMEOUT'
  readonly step: string
  /** Milliseconds that the attempt was given. */
  readonly timeout: number

  constructor(step: string, timeout: number) {
    super('StepTimeoutError', 'MSX_SAGA_STEP_TIMEOUT', `step '${step}' took longer than ${timeout} ms`)
    this.step = step
    this.timeout = timeout
  }
}

/** The saga passed its `deadline` before its pivot, so it is unwound. */
export class SagaDeadlineError extends SagaError {
  declare readonly code: 'MSX_SAGA_DEADLINE'

  constructor(id: string) {
    super('SagaDeadlineError', 'MSX_SAGA_DEADLINE', `saga ${id} passed its deadline`)
  }
}

/** `cancel` was called; this is the cause that compensations and `SagaFailedError` carry. */
export class SagaCancelledError extends SagaError {
  declare readonly code: 'MSX_SAGA_CANCELLED'

  constructor(reason: string) {
    super('SagaCancelledError', 'MSX_SAGA_CANCELLED', reason)
  }
}

/** The reason of `signal` when this worker no longer owns the saga: another one will carry on. */
export class LeaseLostError extends SagaError {
  declare readonly code: 'MSX_SAGA_LEASE_LOST'

  constructor(message: string, options?: ErrorOptions) {
    super('LeaseLostError', 'MSX_SAGA_LEASE_LOST', message, options)
  }
}

/** `result()` of a saga that was unwound (or given up by an operator); `cause` says why. */
export class SagaFailedError extends SagaError {
  declare readonly code: 'MSX_SAGA_FAILED'
  readonly sagaId: string

  constructor(sagaId: string, status: string, cause: unknown) {
    super('SagaFailedError', 'MSX_SAGA_FAILED', `saga ${sagaId} is ${status}: ${messageOf(cause)}`, { cause })
    this.sagaId = sagaId
  }
}

/** `result()` of a saga that cannot go on without an operator: see `engine.resume`. */
export class SagaStuckError extends SagaError {
  declare readonly code: 'MSX_SAGA_STUCK'
  readonly sagaId: string
  readonly step: string

  constructor(sagaId: string, step: string, cause: unknown) {
    super('SagaStuckError', 'MSX_SAGA_STUCK', `saga ${sagaId} is stuck at '${step}': ${messageOf(cause)}`, { cause })
    this.sagaId = sagaId
    this.step = step
  }
}

/** The saga is not in the state that the call takes it to be in: another input under the same key, an old `rev`. */
export class SagaConflictError extends SagaError {
  declare readonly code: 'MSX_SAGA_CONFLICT'
  readonly sagaId: string

  constructor(sagaId: string, message: string) {
    super('SagaConflictError', 'MSX_SAGA_CONFLICT', message)
    this.sagaId = sagaId
  }
}

/** No saga has this id. */
export class SagaNotFoundError extends SagaError {
  declare readonly code: 'MSX_SAGA_NOT_FOUND'
  readonly sagaId: string

  constructor(sagaId: string) {
    super('SagaNotFoundError', 'MSX_SAGA_NOT_FOUND', `there is no saga ${sagaId}`)
    this.sagaId = sagaId
  }
}

/** `settled` waited for its `timeout`. The saga goes on. */
export class SagaWaitTimeoutError extends SagaError {
  declare readonly code: 'MSX_SAGA_WAIT_TIMEOUT'
  readonly sagaId: string

  constructor(sagaId: string, timeout: number) {
    super('SagaWaitTimeoutError', 'MSX_SAGA_WAIT_TIMEOUT', `saga ${sagaId} did not settle within ${timeout} ms`)
    this.sagaId = sagaId
  }
}

/** The engine was closed; its sagas carry on in the next engine on the same store. */
export class EngineClosedError extends SagaError {
  declare readonly code: 'MSX_SAGA_CLOSED'

  constructor() {
    super('EngineClosedError', 'MSX_SAGA_CLOSED', 'the saga engine is closed')
  }
}

const has =
  <E>(code: string) =>
  (error: unknown): error is E =>
    typeof error === 'object' && error !== null && brand(code) in error

export const isStepRejectedError: (error: unknown) => error is StepRejectedError = has('MSX_SAGA_STEP_REJECTED')
export const isNonRetryableError: (error: unknown) => error is NonRetryableError = has('MSX_SAGA_NON_RETRYABLE')
export const isStepTimeoutError: (error: unknown) => error is StepTimeoutError = has('MSX_SAGA_STEP_TIMEOUT')
export const isSagaDeadlineError: (error: unknown) => error is SagaDeadlineError = has('MSX_SAGA_DEADLINE')
export const isSagaCancelledError: (error: unknown) => error is SagaCancelledError = has('MSX_SAGA_CANCELLED')
export const isLeaseLostError: (error: unknown) => error is LeaseLostError = has('MSX_SAGA_LEASE_LOST')
export const isSagaFailedError: (error: unknown) => error is SagaFailedError = has('MSX_SAGA_FAILED')
export const isSagaStuckError: (error: unknown) => error is SagaStuckError = has('MSX_SAGA_STUCK')
export const isSagaConflictError: (error: unknown) => error is SagaConflictError = has('MSX_SAGA_CONFLICT')
export const isSagaNotFoundError: (error: unknown) => error is SagaNotFoundError = has('MSX_SAGA_NOT_FOUND')
export const isSagaWaitTimeoutError: (error: unknown) => error is SagaWaitTimeoutError = has('MSX_SAGA_WAIT_TIMEOUT')
export const isEngineClosedError: (error: unknown) => error is EngineClosedError = has('MSX_SAGA_CLOSED')

/** An error as it is kept in a row. */
export interface StoredError {
  readonly name: string
  readonly message: string
  readonly code?: string | undefined
  readonly stack?: string | undefined
  readonly cause?: StoredError | undefined
}

/** Characters that are kept of a message and of a stack. Messages with a whole answer in them would fill the tables. */
const MESSAGE_LIMIT = 10_000
const STACK_LIMIT = 4_000
const CAUSE_DEPTH = 5

/** What of an error survives a row: name, message, code, stack, cause. Anything can be thrown, so nothing is trusted. */
export function storeError(error: unknown, depth = 0): StoredError {
  try {
    if (!(error instanceof Error)) return { name: 'Error', message: shortened(messageOf(error)) }

    const { code, cause } = error as { code?: unknown; cause?: unknown }
    return {
      name: String(error.name),
      message: shortened(String(error.message)),
      ...(typeof code === 'string' && { code }),
      ...(typeof error.stack === 'string' && { stack: error.stack.slice(0, STACK_LIMIT) }),
      ...(cause !== undefined && depth < CAUSE_DEPTH && { cause: storeError(cause, depth + 1) }),
    }
  } catch {
    return { name: 'Error', message: 'something was thrown that cannot be read' }
  }
}

function shortened(message: string): string {
  return message.length <= MESSAGE_LIMIT ? message : `${message.slice(0, MESSAGE_LIMIT)}…`
}

/** An Error again, recognised by the guards above when it was one of ours. */
export function restoreError(stored: StoredError): Error {
  const error = new Error(stored.message, stored.cause && { cause: restoreError(stored.cause) })
  error.name = stored.name
  if (stored.stack !== undefined) error.stack = stored.stack
  if (stored.code !== undefined) {
    Object.assign(error, { code: stored.code })
    if (stored.code.startsWith('MSX_SAGA_')) Object.defineProperty(error, brand(stored.code), { value: true })
  }
  return error
}

function messageOf(value: unknown): string {
  if (value instanceof Error) return value.message
  try {
    return typeof value === 'string' ? value : (JSON.stringify(value) ?? String(value))
  } catch {
    return String(value)
  }
}
