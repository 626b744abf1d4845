import { promisify } from 'node:util'
import {
  type Client,
  type ClientUnaryCall,
  credentials,
  type Deadline,
  makeClientConstructor,
  Server,
  ServerCredentials,
  type ServiceDefinition,
  type ServiceError,
  status,
} from '@grpc/grpc-js'
import { afterEach, beforeEach, describe, expect, expectTypeOf, it } from 'vitest'
import { circuitBreaker } from './circuit-breaker.js'
import { defaultClassify } from './classify.js'
import type { Outcome } from './policy.js'
import { errorOf, VirtualClock } from './test-support.js'

interface Stock {
  readonly sku: string
  readonly left: number
}

type Callback = (error: ServiceError | null, stock: Stock) => void
type StockClient = Client & {
  get(request: { sku: string }, options: { deadline: Deadline }, callback: Callback): ClientUnaryCall
}

const json = {
  serialize: (value: unknown) => Buffer.from(JSON.stringify(value)),
  deserialize: (bytes: Buffer) => JSON.parse(bytes.toString()),
}
const definition: ServiceDefinition = {
  get: {
    path: '/shop.Stock/Get',
    requestStream: false,
    responseStream: false,
    requestSerialize: json.serialize,
    requestDeserialize: json.deserialize,
    responseSerialize: json.serialize,
    responseDeserialize: json.deserialize,
  },
}
const StockService = makeClientConstructor(definition, 'Stock') as unknown as new (
  ...args: ConstructorParameters<typeof Client>
) => StockClient

type Get = (request: { sku: string }, options: { deadline: Deadline }) => Promise<Stock>

/** A client of one's own around the generated one, with promises, private fields, and a member that is no call. */
class Inventory {
  readonly region: string = 'eu'
  readonly #client: StockClient
  readonly #get: Get

  constructor(address: string) {
    this.#client = new StockService(address, credentials.createInsecure())
    this.#get = promisify(this.#client.get.bind(this.#client)) as Get
  }

  get(sku: string): Promise<Stock> {
    return this.#get({ sku }, { deadline: Date.now() + 2_000 })
  }

  close(): void {
    this.#client.close()
  }
}

/** The client's own mistakes say nothing about the service. */
const CALLERS_FAULT: ReadonlySet<unknown> = new Set([status.INVALID_ARGUMENT, status.NOT_FOUND, status.ALREADY_EXISTS])

function classify(outcome: Outcome) {
  const answered = !outcome.ok && CALLERS_FAULT.has((outcome.error as ServiceError).code)
  return answered ? 'success' : defaultClassify(outcome)
}

let server: Server
let port: number

async function start(at = 0): Promise<void> {
  server = new Server()
  server.addService(definition, {
    get(call: { request: { sku: string } }, reply: (error: Partial<ServiceError> | null, stock?: Stock) => void) {
      const { sku } = call.request
      if (sku === 'none') reply({ code: status.NOT_FOUND, details: 'no such sku' })
      else reply(null, { sku, left: 7 })
    },
  })
  port = await promisify(server.bindAsync.bind(server))(`127.0.0.1:${at}`, ServerCredentials.createInsecure())
}

beforeEach(() => start())
afterEach(() => server.forceShutdown())

describe('a gRPC client behind a circuit', () => {
  it('answers as before, with its private fields, and leaves what is no call alone', async () => {
    const breaker = circuitBreaker({ name: 'inventory' })
    const real = new Inventory(`127.0.0.1:${port}`)
    const inventory = breaker.protect(real)
    expectTypeOf(inventory.get).toEqualTypeOf<(sku: string) => Promise<Stock>>()
    expectTypeOf(inventory.region).toEqualTypeOf<string>()

    expect(await inventory.get('tea')).toEqual({ sku: 'tea', left: 7 })
    expect(inventory.region).toBe('eu')
    expect(inventory).toBeInstanceOf(Inventory)
    expect(breaker.metrics).toMatchObject({ calls: 1, failures: 0 })
    real.close()
  })

  it('opens when the server is dead, rejects without a call, and closes when it is back', async () => {
    const clock = new VirtualClock()
    const breaker = circuitBreaker({ name: 'inventory', trip: { failures: 3 }, openDuration: 1_000, classify, clock })
    const real = new Inventory(`127.0.0.1:${port}`)
    const inventory = breaker.protect(real)
    await inventory.get('tea')

    server.forceShutdown()
    for (let call = 1; call <= 3; call++) {
      expect(await errorOf(inventory.get('tea'))).toMatchObject({ code: status.UNAVAILABLE })
    }
    expect(breaker.state).toBe('open')
    expect(await errorOf(inventory.get('tea'))).toMatchObject({
      code: 'MSX_CIRCUIT_OPEN',
      cause: { code: status.UNAVAILABLE },
    })
    real.close()

    await start(port)
    clock.advance(1_000)
    const again = new Inventory(`127.0.0.1:${port}`)
    expect(await breaker.protect(again).get('tea')).toEqual({ sku: 'tea', left: 7 })
    expect(breaker.state).toBe('closed')
    again.close()
  })

  it('does not open for what the caller did wrong', async () => {
    const breaker = circuitBreaker({ trip: { failures: 1 }, classify })
    const real = new Inventory(`127.0.0.1:${port}`)

    expect(await errorOf(breaker.protect(real).get('none'))).toMatchObject({ code: status.NOT_FOUND })

    expect(breaker.state).toBe('closed')
    expect(breaker.metrics.calls).toBe(1)
    real.close()
  })

  it('cannot see how a call ends whose method takes a callback: it returns first', async () => {
    const breaker = circuitBreaker({ trip: { failures: 1 } })
    server.forceShutdown()
    const client = new StockService(`127.0.0.1:${port}`, credentials.createInsecure())
    const guarded = breaker.protect(client)

    const failed = new Promise((resolve) => {
      void guarded.get({ sku: 'tea' }, { deadline: Date.now() + 2_000 }, resolve)
    })

    expect(await failed).toMatchObject({ code: status.UNAVAILABLE })
    expect(breaker.metrics).toMatchObject({ calls: 1, failures: 0 })
    client.close()
  })
})
