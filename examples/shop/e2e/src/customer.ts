import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'vitest'

export interface Line {
  readonly productId: string
  readonly quantity: number
}

export interface Answer {
  readonly status: number
  readonly headers: Headers
  // What the shop sends is looked at by the tests, field by field.
  // biome-ignore lint/suspicious/noExplicitAny: a test reads whatever came
  readonly body: any
}

/** Somebody who uses the shop over HTTP and knows nothing else of it. */
export interface Customer {
  readonly id: string
  readonly email: string
  readonly token: string
  request(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Answer>
  order(items: readonly Line[], paymentMethod: string, key?: string): Promise<Answer>
  /** Waits until the order is no longer PENDING; fails after `patience` ms. */
  settled(orderId: string, patience?: number): Promise<Answer>
}

export async function request(
  url: string,
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const response = await fetch(url + path, {
    method,
    headers: body === undefined ? headers : { 'content-type': 'application/json', ...headers },
    body: body === undefined || typeof body === 'string' ? (body ?? null) : JSON.stringify(body),
  })
  const text = await response.text()
  const json = /json/.test(response.headers.get('content-type') ?? '')
  return { status: response.status, headers: response.headers, body: json ? JSON.parse(text) : text }
}

export async function newCustomer(url: string): Promise<Customer> {
  const email = `${randomUUID()}@example.test`
  const password = 'correct horse battery'
  const registered = await request(url, 'POST', '/api/users', { email, password, name: 'Ada' })
  if (registered.status !== 201)
    throw new Error(`sign-up answered ${registered.status}: ${JSON.stringify(registered.body)}`)
  const session = await request(url, 'POST', '/api/sessions', { email, password })
  if (session.status !== 200) throw new Error(`sign-in answered ${session.status}: ${JSON.stringify(session.body)}`)

  return customer(url, registered.body.id, email, session.body.token)
}

export function customer(url: string, id: string, email: string, token: string): Customer {
  const send: Customer['request'] = (method, path, body, headers = {}) =>
    request(url, method, path, body, { authorization: `Bearer ${token}`, ...headers })

  return {
    id,
    email,
    token,
    request: send,
    order: (items, paymentMethod, key = randomUUID()) =>
      send('POST', '/api/orders', { items, paymentMethod }, { 'idempotency-key': key }),
    async settled(orderId, patience = 10_000) {
      const deadline = performance.now() + patience
      for (;;) {
        const answer = await send('GET', `/api/orders/${orderId}`)
        if (answer.status === 200 && answer.body.status !== 'PENDING') return answer
        if (performance.now() > deadline) {
          const saga = await send('GET', `/api/orders/${orderId}/saga`)
          throw new Error(`order ${orderId} is still PENDING after ${patience} ms: ${JSON.stringify(saga.body)}`)
        }
        await sleep(50)
      }
    },
  }
}

/** Somebody orders and deletes the account: soon the token, which is good yet, opens nothing of what it had. */
export async function expectDeparture(url: string): Promise<void> {
  const bob = await newCustomer(url)
  const items = [{ productId: 'espresso-cup', quantity: 1 }]
  const key = 'the-first'
  const { id: orderId } = (await bob.order(items, 'card-ok', key)).body
  await bob.settled(orderId)

  const payment = { orderId, amount: 1, currency: 'EUR' }
  expect((await bob.request('POST', '/api/payments', payment)).status).not.toBe(404)
  expect((await bob.request('DELETE', `/api/users/${bob.id}`)).status).toBe(204)

  // The others hear of it by an event.
  const soon = { timeout: 10_000, interval: 10 }
  await expect.poll(async () => (await bob.request('GET', `/api/orders/${orderId}`)).status, soon).toBe(404)
  expectProblem(await bob.request('GET', `/api/orders/${orderId}/saga`), 404)
  expectProblem(await bob.request('POST', `/api/orders/${orderId}/cancel`), 404)
  expectProblem(await bob.order(items, 'card-ok'), 403)
  expectProblem(await bob.order(items, 'card-ok', key), 403)
  await expect.poll(async () => (await bob.request('POST', '/api/payments', payment)).status, soon).toBe(404)
}

/** Every error of the shop is an RFC 9457 problem. */
export function expectProblem(answer: Answer, status: number): void {
  expect(answer.status).toBe(status)
  expect(answer.headers.get('content-type')).toMatch(/^application\/problem\+json/)
  expect(answer.body).toMatchObject({ status, title: expect.any(String), detail: expect.any(String) })
}
