import { type GrpcCode, GrpcError, grpcCodes } from './errors.js'

/** What a gRPC status is in HTTP, by google/rpc/code.proto. */
export const httpStatuses: Readonly<Record<Exclude<GrpcCode, 'OK'>, number>> = {
  CANCELLED: 499,
  UNKNOWN: 500,
  INVALID_ARGUMENT: 400,
  DEADLINE_EXCEEDED: 504,
  NOT_FOUND: 404,
  ALREADY_EXISTS: 409,
  PERMISSION_DENIED: 403,
  RESOURCE_EXHAUSTED: 429,
  FAILED_PRECONDITION: 400,
  ABORTED: 409,
  OUT_OF_RANGE: 400,
  UNIMPLEMENTED: 501,
  INTERNAL: 500,
  UNAVAILABLE: 503,
  DATA_LOSS: 500,
  UNAUTHENTICATED: 401,
}

/** Whose words are about the request, and so for whoever sent it; the others may tell how things are inside. */
const outspoken = new Set<GrpcCode>([
  'INVALID_ARGUMENT',
  'NOT_FOUND',
  'ALREADY_EXISTS',
  'PERMISSION_DENIED',
  'RESOURCE_EXHAUSTED',
  'FAILED_PRECONDITION',
  'ABORTED',
  'OUT_OF_RANGE',
  'UNAUTHENTICATED',
])

const ailing = new Set<GrpcCode>(['UNKNOWN', 'DEADLINE_EXCEEDED', 'INTERNAL', 'UNAVAILABLE', 'DATA_LOSS'])

/** Whether a status says that the service is not well, rather than that it refuses this request. */
export const isFailure = (code: GrpcCode): boolean => ailing.has(code)

const general: Partial<Record<GrpcCode, string>> = {
  DEADLINE_EXCEEDED: 'The service did not answer in time.',
  UNAVAILABLE: 'The service is not available.',
  UNIMPLEMENTED: 'The service does not offer this.',
  CANCELLED: 'The service called the request off.',
}

/** What grpc-js rejects with. */
interface ServiceFailure {
  readonly code?: unknown
  readonly details?: unknown
}

/** From what grpc-js rejected with to what is answered. */
export function grpcFailure(
  failure: ServiceFailure,
  statuses: Readonly<Partial<Record<GrpcCode, number>>> = {},
): GrpcError {
  const code = grpcCodes[failure.code as number] ?? 'UNKNOWN'
  const details = typeof failure.details === 'string' ? failure.details : ''
  // grpc-js uses RESOURCE_EXHAUSTED, too, for an answer that is longer than it takes: that is no quota of the client's.
  const tooLong =
    code === 'RESOURCE_EXHAUSTED' && /^(?:Received|Attempted to send) message .*larger than/i.test(details)
  const grpc = code === 'OK' || tooLong ? 'INTERNAL' : code

  return new GrpcError('MSX_GRPC_STATUS', tooLong ? 502 : (statuses[grpc] ?? httpStatuses[grpc]), {
    message: (outspoken.has(grpc) && details) || (general[grpc] ?? 'The service could not handle the request.'),
    grpc,
    cause: failure,
  })
}
