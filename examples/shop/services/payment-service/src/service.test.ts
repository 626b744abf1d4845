import { networkInterfaces } from 'node:os'
import { status } from '@grpc/grpc-js'
import { createBus } from '@msx/messaging'
import { type AuthorizeRequest, shopEvents } from '@shop/contracts'
import { type TestDeps, testDeps } from '@shop/platform/testing'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { createPaymentService, type PaymentService } from './index.js'
import { type PaymentClient, paymentClient } from './testing/payment-client.js'
import { createTransactions } from './transactions.js'

let deps: TestDeps
let service: PaymentService
let http: string
let client: PaymentClient
let orders = 0

beforeAll(async () => {
  deps = await testDeps({ role: 'payment_service' })
})

beforeEach(() => startService())

afterEach(async () => {
  client.close()
  await service.stop()
})

afterAll(() => deps.close())

async function startService(options: { readonly host?: string } = {}): Promise<void> {
  service = createPaymentService({ ...deps, ...options })
  const address = await service.start()
  http = address.http
  client = paymentClient(address.url)
}

function authorization(changes: Partial<AuthorizeRequest> = {}): AuthorizeRequest {
  orders += 1
  return {
    orderId: `order-${orders}`,
    userId: 'user-1',
    amount: 4_200,
    currency: 'EUR',
    paymentMethod: 'card-ok',
    ...changes,
  }
}

async function ledgerOf(orderId: string): Promise<{ entry: string; amount: number }[]> {
  const { rows } = await deps.database.query<{ entry: string; amount: number }>(
    'SELECT entry, amount FROM payment_ledger WHERE order_id = $1 ORDER BY id',
    [orderId],
  )
  return rows
}

test('listens on an address of IPv6, too', async ({ skip }) => {
  if (!Object.values(networkInterfaces()).some((all) => all?.some(({ address }) => address === '::1'))) {
    skip('this machine has no IPv6')
  }
  client.close()
  await service.stop()

  await startService({ host: '::1' })

  expect((await client.authorize(authorization())).status).toBe('AUTHORISED')
  expect((await fetch(`${http}/health/ready`)).status).toBe(200)
})

describe('Authorize', () => {
  test('reserves the money and writes it down', async () => {
    const request = authorization()

    const payment = await client.authorize(request)

    expect(payment).toEqual({
      transactionId: expect.stringMatching(/^[0-9a-f-]{36}$/),
      orderId: request.orderId,
      status: 'AUTHORISED',
      amount: 4_200,
      currency: 'EUR',
    })
    expect(await ledgerOf(request.orderId)).toEqual([{ entry: 'authorise', amount: 4_200 }])
  })

  test('answers a repeat with the stored transaction', async () => {
    const request = authorization()
    const first = await client.authorize(request)

    expect(await client.authorize(request)).toEqual(first)
    expect(await ledgerOf(request.orderId)).toHaveLength(1)
  })

  test('charges once when the same order is authorised many times at once', async () => {
    const request = authorization()

    const payments = await Promise.all(Array.from({ length: 20 }, () => client.authorize(request)))

    expect(new Set(payments.map((payment) => payment.transactionId)).size).toBe(1)
    expect(await ledgerOf(request.orderId)).toHaveLength(1)
  })

  test.each<Partial<AuthorizeRequest>>([{ amount: 4_201 }, { currency: 'USD' }, { userId: 'user-2' }])(
    'refuses %o for an order that was authorised for other money',
    async (changes) => {
      const request = authorization()
      await client.authorize(request)

      await expect(client.authorize({ ...request, ...changes })).rejects.toMatchObject({
        code: status.ALREADY_EXISTS,
        details: expect.stringContaining(Object.keys(changes)[0]!),
      })
    },
  )

  test('charges nothing when its caller gave up before the commit', async () => {
    const request = { ...authorization(), paymentMethod: 'card-ok' as const }
    const caller = new AbortController()
    let release!: () => void
    const held = new Promise<void>((resolve) => {
      release = resolve
    })
    const blocking = deps.database.transaction(() => held)

    const outcome = createTransactions(deps.database).authorise(request, caller.signal)
    caller.abort(new Error('gave up'))
    release()
    await blocking

    await expect(outcome).rejects.toThrow('gave up')
    await expect(client.getPayment(request)).rejects.toMatchObject({ code: status.NOT_FOUND })
    expect(await ledgerOf(request.orderId)).toEqual([])
  })

  test('declines without moving money', async () => {
    const request = authorization({ paymentMethod: 'card-declined' })

    expect(await client.authorize(request)).toMatchObject({ status: 'DECLINED' })
    expect(await ledgerOf(request.orderId)).toEqual([])
  })

  test('keeps largest safe amounts exact', async () => {
    const request = authorization({ amount: Number.MAX_SAFE_INTEGER })

    expect((await client.authorize(request)).amount).toBe(Number.MAX_SAFE_INTEGER)
    expect((await client.getPayment(request)).amount).toBe(Number.MAX_SAFE_INTEGER)
  })

  test.each<[string, Partial<AuthorizeRequest>]>([
    ['orderId', { orderId: '' }],
    ['orderId', { orderId: 'x'.repeat(101) }],
    ['orderId', { orderId: 'nul\u0000' }],
    ['userId', { userId: '' }],
    ['amount', { amount: 0 }],
    ['amount', { amount: -1 }],
    ['amount', { amount: Number.MAX_SAFE_INTEGER + 1 }],
    ['currency', { currency: '' }],
    ['currency', { currency: 'euro' }],
    ['paymentMethod', { paymentMethod: '' }],
    ['paymentMethod', { paymentMethod: 'cash' }],
    ['paymentMethod', { paymentMethod: 'toString' }],
  ])('refuses a request and names %s: %o', async (field, changes) => {
    await expect(client.authorize(authorization(changes))).rejects.toMatchObject({
      code: status.INVALID_ARGUMENT,
      details: expect.stringMatching(new RegExp(`^${field}: `)),
    })
  })

  test('names every field of an empty request', async () => {
    const failure = await client.authorize({}).catch((error: { details: string }) => error.details)

    for (const field of ['orderId', 'userId', 'amount', 'currency', 'paymentMethod']) expect(failure).toContain(field)
  })
})

describe('a card network that charges and stays silent', () => {
  const silent = () => authorization({ paymentMethod: 'card-timeout-after-charge' })
  const soon = () => ({ deadline: Date.now() + 150 })

  test('has charged when the caller gives up, and hangs again for a repeat', async () => {
    const request = silent()

    await expect(client.authorize(request, soon())).rejects.toMatchObject({ code: status.DEADLINE_EXCEEDED })
    await expect(client.authorize(request, soon())).rejects.toMatchObject({ code: status.DEADLINE_EXCEEDED })

    expect(await client.getPayment(request)).toMatchObject({ status: 'AUTHORISED', amount: 4_200 })
    expect(await ledgerOf(request.orderId)).toHaveLength(1)
  })

  test('keeps many waiting without a warning', async () => {
    const warned = vi.fn()
    process.on('warning', warned)

    await Promise.allSettled(
      Array.from({ length: 15 }, () => client.authorize(silent(), { deadline: Date.now() + 1_000 })),
    )
    process.off('warning', warned)

    expect(warned).not.toHaveBeenCalled()
  })

  test('lets a cancelled caller go', async () => {
    const caller = new AbortController()
    const request = silent()
    const answer = client.authorize(request, { signal: caller.signal })
    const outcome = expect(answer).rejects.toMatchObject({ code: status.CANCELLED })
    await vi.waitFor(async () => expect(await ledgerOf(request.orderId)).toHaveLength(1))

    caller.abort()

    await outcome
  })

  test('gives the money back when asked', async () => {
    const request = silent()
    await client.authorize(request, soon()).catch(() => undefined)

    expect(await client.void(request)).toMatchObject({ status: 'VOIDED' })
    expect((await ledgerOf(request.orderId)).map((row) => row.entry)).toEqual(['authorise', 'void'])
    expect(await client.authorize(request)).toMatchObject({ status: 'VOIDED' })
  })

  test('does not keep the service from stopping', async () => {
    const request = silent()
    const outcome = expect(client.authorize(request)).rejects.toMatchObject({ code: status.UNAVAILABLE })
    await vi.waitFor(async () => expect(await ledgerOf(request.orderId)).toHaveLength(1))

    const started = performance.now()
    await service.stop()

    await outcome
    expect(performance.now() - started).toBeLessThan(2_000)
  })
})

describe('Capture', () => {
  test('takes the money once, however often it is asked', async () => {
    const request = authorization()
    await client.authorize(request)

    expect(await client.capture(request)).toMatchObject({ status: 'CAPTURED', amount: 4_200 })
    expect(await client.capture(request)).toMatchObject({ status: 'CAPTURED' })

    expect(await ledgerOf(request.orderId)).toEqual([
      { entry: 'authorise', amount: 4_200 },
      { entry: 'capture', amount: 4_200 },
    ])
  })

  test('refuses what was declined or voided', async () => {
    const declined = authorization({ paymentMethod: 'card-declined' })
    await client.authorize(declined)
    const voided = authorization()
    await client.void(voided)

    await expect(client.capture(declined)).rejects.toMatchObject({ code: status.FAILED_PRECONDITION })
    await expect(client.capture(voided)).rejects.toMatchObject({ code: status.FAILED_PRECONDITION })
  })

  test('does not know an order that was never authorised', async () => {
    await expect(client.capture({ orderId: 'nobody' })).rejects.toMatchObject({ code: status.NOT_FOUND })
    await expect(client.capture({ orderId: '' })).rejects.toMatchObject({ code: status.INVALID_ARGUMENT })
  })
})

describe('Void', () => {
  test('gives the money back once', async () => {
    const request = authorization()
    await client.authorize(request)

    await Promise.all([client.void(request), client.void(request)])

    expect(await client.getPayment(request)).toMatchObject({ status: 'VOIDED', amount: 4_200 })
    expect((await ledgerOf(request.orderId)).map((row) => row.entry)).toEqual(['authorise', 'void'])
  })

  test('of an unknown order keeps a late authorisation from charging', async () => {
    const request = authorization()

    expect(await client.void(request)).toMatchObject({ status: 'VOIDED', amount: 0 })
    expect(await client.authorize(request)).toMatchObject({ status: 'VOIDED' })
    expect(await ledgerOf(request.orderId)).toEqual([])
  })

  test('leaves a declined payment declined', async () => {
    const request = authorization({ paymentMethod: 'card-declined' })
    await client.authorize(request)

    expect(await client.void(request)).toMatchObject({ status: 'DECLINED' })
  })

  test('refuses what was captured', async () => {
    const request = authorization()
    await client.authorize(request)
    await client.capture(request)

    await expect(client.void(request)).rejects.toMatchObject({ code: status.FAILED_PRECONDITION })
    expect(await client.getPayment(request)).toMatchObject({ status: 'CAPTURED' })
  })
})

describe('orders heard of by their events', () => {
  let bus: ReturnType<typeof orderBus>
  const orderBus = () => createBus({ events: shopEvents, transport: deps.transport, source: 'order-service' })
  const base = { userId: 'user-1', timestamp: '2026-01-01T00:00:00.000Z' }
  const paid = { amount: 4_200, currency: 'EUR' }

  beforeEach(async () => {
    bus = orderBus()
    await bus.start()
  })

  afterEach(() => bus.close())

  async function created(changes: { orderId?: string; total?: number; id?: string } = {}): Promise<string> {
    orders += 1
    const { orderId = `known-${orders}`, total = 4_200, id = `event-${orders}` } = changes
    const items = [{ productId: 'p', quantity: 1 }]
    await bus.publish('order.created', { ...base, orderId, items, total, currency: 'EUR' }, { id })
    await deps.transport.drain()
    return orderId
  }

  test('are known once per event', async () => {
    const orderId = await created({ id: 'twice' })
    await created({ id: 'twice' })
    await created({ orderId, total: 1 })

    const { rows } = await deps.database.query(
      'SELECT order_id, user_id, total, currency FROM known_orders WHERE order_id = $1',
      [orderId],
    )
    expect(rows).toEqual([{ order_id: orderId, user_id: 'user-1', total: 4_200, currency: 'EUR' }])
    expect(deps.transport.deadLetters('payment')).toEqual([])
  })

  test('are paid by their customers, once, however often they try and whatever the checkout does', async () => {
    const orderId = await created()

    const payments = await Promise.all([
      client.process({ orderId, ...paid }, 'user-1'),
      client.process({ orderId, ...paid }, 'user-1'),
      client.authorize(authorization({ orderId })),
    ])

    expect(new Set(payments.map(({ transactionId }) => transactionId)).size).toBe(1)
    expect(payments.map((payment) => payment.status)).toEqual(['AUTHORISED', 'AUTHORISED', 'AUTHORISED'])
    expect(await ledgerOf(orderId)).toEqual([{ entry: 'authorise', amount: 4_200 }])
  })

  test.each<[string, object, string, keyof typeof status]>([
    ['of somebody else', {}, 'user-2', 'NOT_FOUND'],
    ['that nobody has heard of', { orderId: 'moon' }, 'user-1', 'NOT_FOUND'],
    ['with another amount', { amount: 1 }, 'user-1', 'INVALID_ARGUMENT'],
    ['in another currency', { currency: 'USD' }, 'user-1', 'INVALID_ARGUMENT'],
    ['by nobody', {}, '', 'UNAUTHENTICATED'],
  ])('are not paid %s', async (_what, changes, userId, code) => {
    const orderId = await created()

    await expect(client.process({ orderId, ...paid, ...changes }, userId)).rejects.toMatchObject({ code: status[code] })
    expect(await ledgerOf(orderId)).toEqual([])
  })

  test('are not paid by somebody whose account is gone', async () => {
    const orderId = await created()

    await bus.publish('user.deleted', { userId: 'user-1', timestamp: base.timestamp })
    await deps.transport.drain()

    await expect(client.process({ orderId, ...paid }, 'user-1')).rejects.toMatchObject({ code: status.NOT_FOUND })
    expect(await ledgerOf(orderId)).toEqual([])
    await deps.database.query('DELETE FROM departed_users')
  })

  test('are paid over HTTP as over gRPC, for a gateway that does not speak it', async () => {
    const orderId = await created()
    const pay = async (message: object, userId = 'user-1') => {
      const headers = { 'content-type': 'application/json', ...(userId !== '' && { 'x-user-id': userId }) }
      const answer = await fetch(`${http}/api/payments`, { method: 'POST', headers, body: JSON.stringify(message) })
      return { status: answer.status, body: (await answer.json()) as Record<string, unknown> }
    }
    const own = { orderId, ...paid }

    expect((await pay(own, '')).status).toBe(401)
    expect((await pay(own, 'user-2')).status).toBe(404)
    expect(await pay({ ...own, amount: 1 })).toMatchObject({ status: 422, body: { status: 422, detail: /amount/ } })
    expect((await pay({ orderId })).status).toBe(422)
    expect(await ledgerOf(orderId)).toEqual([])
    expect(await pay(own)).toEqual({ status: 200, body: await client.process(own, 'user-1') })
    expect((await ledgerOf(orderId)).map(({ entry }) => entry)).toEqual(['authorise'])

    await bus.publish('order.cancelled', { ...base, orderId, reason: 'stock' })
    await deps.transport.drain()
    expect((await pay(own)).status).toBe(409)
  })

  test('are not paid once they have ended, and what was paid before is given back when they are cancelled', async () => {
    const orderId = await created()
    await client.process({ orderId, ...paid }, 'user-1')

    await bus.publish('order.cancelled', { ...base, orderId, reason: 'stock' })
    await deps.transport.drain()

    expect(await ledgerOf(orderId)).toMatchObject([{ entry: 'authorise' }, { entry: 'void' }])
    await expect(client.process({ orderId, ...paid }, 'user-1')).rejects.toMatchObject({
      code: status.FAILED_PRECONDITION,
    })
  })

  test('may be heard of by their end first', async () => {
    const orderId = 'backwards'
    await bus.publish('order.confirmed', { ...base, orderId, total: 4_200, currency: 'EUR' })
    await deps.transport.drain()
    await created({ orderId })

    await expect(client.process({ orderId, ...paid }, 'user-1')).rejects.toMatchObject({
      code: status.FAILED_PRECONDITION,
    })
  })
})

describe('Refund', () => {
  test('gives back what was captured, once', async () => {
    const { orderId } = await client.authorize(authorization())
    await expect(client.refund({ orderId })).rejects.toMatchObject({ code: status.FAILED_PRECONDITION })
    await client.capture({ orderId })

    expect(await client.refund({ orderId })).toMatchObject({ status: 'REFUNDED' })
    expect(await client.refund({ orderId })).toMatchObject({ status: 'REFUNDED' })
    expect((await ledgerOf(orderId)).map(({ entry }) => entry)).toEqual(['authorise', 'capture', 'refund'])
  })
})

describe('over HTTP', () => {
  test('says when both sides serve', async () => {
    expect((await fetch(`${http}/health/ready`)).status).toBe(200)
    expect((await fetch(`${http}/health/live`)).status).toBe(200)
    expect(await (await fetch(`${http}/metrics`)).text()).toContain('http_request_duration_seconds')
  })

  test('shows a payment with its ledger', async () => {
    const request = authorization()
    await client.authorize(request)

    const answer = await fetch(`${http}/internal/payments/${request.orderId}`)

    expect(await answer.json()).toMatchObject({
      status: 'AUTHORISED',
      amount: 4_200,
      ledger: [{ entry: 'authorise', amount: 4_200, currency: 'EUR', at: expect.any(String) }],
    })
    expect((await fetch(`${http}/internal/payments/nobody`)).status).toBe(404)
  })
})

test('starts again on the same database', async () => {
  const request = authorization()
  const first = await client.authorize(request)
  await service.stop()
  client.close()

  await startService()

  expect(await client.authorize(request)).toEqual(first)
})
