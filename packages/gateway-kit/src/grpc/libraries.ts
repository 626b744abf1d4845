import { createRequire } from 'node:module'
import { dirname } from 'node:path'
import { GrpcError } from './errors.js'

/** All that @grpc/grpc-js exports. */
export type Grpc = typeof import('@grpc/grpc-js')
/** All that protobufjs exports. */
export type Protobuf = typeof import('protobufjs')

export interface Libraries {
  readonly grpc: Grpc
  readonly protobuf: Protobuf
  /** Where google/api/annotations.proto and the like are. */
  readonly protos: string
}

/**
 * grpc-js is an optional peer, so it is loaded when a transcoder is made. It brings along what reads `.proto` files:
 * of that the very copy is taken, so that there is one package to install.
 *
 * @throws {GrpcError} `MSX_GRPC_PEER_MISSING` when it is not installed.
 */
export function loadLibraries(from: string = import.meta.url): Libraries {
  const require = createRequire(from)
  let grpcAt: string
  try {
    grpcAt = require.resolve('@grpc/grpc-js')
  } catch (cause) {
    throw new GrpcError('MSX_GRPC_PEER_MISSING', 503, {
      message:
        '@msx/gateway-kit/grpc needs the package @grpc/grpc-js, which is not installed: npm install @grpc/grpc-js',
      cause,
    })
  }

  const loader = createRequire(createRequire(grpcAt).resolve('@grpc/proto-loader'))
  return {
    grpc: require(grpcAt) as Grpc,
    protobuf: loader('protobufjs') as Protobuf,
    protos: dirname(loader.resolve('protobufjs/package.json')),
  }
}
