import { fileURLToPath } from 'node:url'
import {
  loadPackageDefinition,
  Server,
  ServerCredentials,
  type ServiceClientConstructor,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import { onTestFinished } from 'vitest'
import { loadLibraries } from '../libraries.js'

export const proto: string = fileURLToPath(new URL('orders.proto', import.meta.url))

/** A grpc-js server of its own around some methods of orders.proto; stopped when the test is over. */
export async function startOrders(
  methods: UntypedServiceImplementation,
): Promise<{ address: string; port: number; server: Server }> {
  const loaded = loadPackageDefinition(
    loadSync(proto, { longs: String, enums: String, bytes: Buffer, includeDirs: [loadLibraries().protos] }),
  ) as unknown as { test: { orders: { v1: { Orders: ServiceClientConstructor } } } }
  const server = new Server()
  server.addService(loaded.test.orders.v1.Orders.service, methods)
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    )
  })
  onTestFinished(() => server.forceShutdown())

  return { address: `127.0.0.1:${port}`, port, server }
}
