/** The names of gRPC's codes, by number. */
export const grpcCodes = [
  'OK',
  'CANCELLED',
  'UNKNOWN',
  'INVALID_ARGUMENT',
  'DEADLINE_EXCEEDED',
  'NOT_FOUND',
  'ALREADY_EXISTS',
  'PERMISSION_DENIED',
  'RESOURCE_EXHAUSTED',
  'FAILED_PRECONDITION',
  'ABORTED',
  'OUT_OF_RANGE',
  'UNIMPLEMENTED',
  'INTERNAL',
  'UNAVAILABLE',
  'DATA_LOSS',
  'UNAUTHENTICATED',
] as const

/** The name of a status that a gRPC service answered with. */
export type GrpcCode = (typeof grpcCodes)[number]

const brand = Symbol.for('@msx/gateway-kit.GrpcError')

/**
 * A transcoded call did not end well: the service answered with a status other than OK (`MSX_GRPC_STATUS`), the
 * request does not fit the message it was to become (`MSX_GRPC_REQUEST`), or grpc-js is not installed
 * (`MSX_GRPC_PEER_MISSING`). `cause` is for logs.
 */
export class GrpcError extends Error {
  override readonly name = 'GrpcError'
  readonly code: 'MSX_GRPC_STATUS' | 'MSX_GRPC_REQUEST' | 'MSX_GRPC_PEER_MISSING'
  /** What the client is told. */
  readonly status: number
  /** With `MSX_GRPC_STATUS`: what the service said. */
  readonly grpc?: GrpcCode | undefined

  constructor(
    code: GrpcError['code'],
    status: number,
    options: { readonly message: string; readonly grpc?: GrpcCode | undefined; readonly cause?: unknown },
  ) {
    super(options.message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.status = status
    this.grpc = options.grpc
    Object.defineProperty(this, brand, { value: true })
  }
}

/** Whether this is a {@link GrpcError}, also one from another copy of the package. */
export function isGrpcError(error: unknown): error is GrpcError {
  return typeof error === 'object' && error !== null && brand in error
}
