import { status } from '@grpc/grpc-js'
import { isCircuitOpenError } from '@msx/circuit-breaker'
import { createDiscovery, type Discovery, fixed } from '@msx/discovery'
import { isTimeoutError } from '@msx/retry'
import { createInstruments } from '@shop/platform'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { createPayments, isRefusal, type Payments } from './payments.js'
import { type FakePayments, fakePayments, refusal } from './testing/payment-service.js'

let server: FakePayments
let discovery: Discovery
let payments: Payments

const { signal } = new AbortController()
const authorization = (orderId: string, paymentMethod = 'card-ok') => ({
  orderId,
  userId: 'user-1',
  amount: 100,
  currency: 'EUR',
  paymentMethod,
})
const failureOf = (call: Promise<unknown>) =>
  call.then(
    () => undefined,
    (error: unknown) => error,
  )

beforeEach(async () => {
  server = await fakePayments()
  discovery = createDiscovery({ source: fixed({ 'payment-service': [server.url] }) })
  payments = createPayments(discovery, createInstruments('order-service'))
})

afterEach(async () => {
  payments.close()
  server.close()
  await discovery.close()
})

describe('a call to payment-service', () => {
  test('is tried once more when it did not arrive', async () => {
    let refused = 1
    server.before = () => {
      if (refused-- > 0) throw refusal(status.UNAVAILABLE)
    }

    expect(await payments.authorise(authorization('o-1'), signal)).toMatchObject({ status: 'AUTHORISED' })
    expect(server.asked).toEqual(['Authorize', 'Authorize'])
  })

  test('ends with its time, and is not repeated here', async () => {
    const failure = await failureOf(payments.authorise(authorization('o-1', 'card-timeout-after-charge'), signal))

    expect(isTimeoutError(failure) || (failure as { code?: unknown }).code === status.DEADLINE_EXCEEDED).toBe(true)
    expect(server.asked).toEqual(['Authorize'])
  })

  test('ends with its caller, for the caller’s reason', async () => {
    const caller = new AbortController()
    const failure = failureOf(payments.authorise(authorization('o-1', 'card-timeout-after-charge'), caller.signal))
    const reason = new Error('nobody wants it any more')
    caller.abort(reason)

    expect(await failure).toBe(reason)
    expect(await failureOf(payments.void('o-1', caller.signal))).toBe(reason)
  })

  test('that is refused keeps its status, and says nothing against the service', async () => {
    for (let i = 0; i < 30; i++) {
      expect(isRefusal(await failureOf(payments.capture(`o-${i}`, signal)))).toBe(true)
    }
    expect(server.asked).toHaveLength(30)
  })

  test('that finds no payment is an answer', async () => {
    expect(await payments.find('o-1', signal)).toBeUndefined()
  })
})

test('an Authorize that keeps failing is cut off, and Void still goes through', async () => {
  server.before = (method) => {
    if (method === 'Authorize') throw refusal(status.INTERNAL)
  }
  for (let i = 0; i < 10; i++) await failureOf(payments.authorise(authorization(`o-${i}`), signal))

  expect(isCircuitOpenError(await failureOf(payments.authorise(authorization('o-10'), signal)))).toBe(true)
  expect(await payments.void('o-1', signal)).toMatchObject({ status: 'VOIDED' })
})

test('a service that was away is found again soon after it is back', async () => {
  await payments.void('o-1', signal)
  server.close()
  expect(await failureOf(payments.void('o-2', signal))).toMatchObject({ code: status.UNAVAILABLE })

  const port = Number(new URL(server.url).port)
  server = await fakePayments(port)

  await expect
    .poll(() => payments.void('o-2', signal).catch(() => undefined), { timeout: 3_000 })
    .toMatchObject({
      status: 'VOIDED',
    })
})

test('a service that moved is called at its new address only', async () => {
  const other = await fakePayments()
  let move = (_url: string) => {}
  const moving = createDiscovery({
    source: {
      watch(_service, sink) {
        move = (url) => sink.update([{ host: '127.0.0.1', port: Number(new URL(url).port) }])
        move(server.url)
      },
    },
  })
  const caller = createPayments(moving, createInstruments('order-service'))
  await caller.void('o-1', signal)

  move(other.url)
  await caller.void('o-2', signal)

  expect([...server.payments.keys()]).toEqual(['o-1'])
  expect([...other.payments.keys()]).toEqual(['o-2'])
  caller.close()
  other.close()
  await moving.close()
})
