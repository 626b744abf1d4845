import { readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { audit } from './books.js'
import { type Customer, newCustomer, request } from './customer.js'
import { type Operator, operator, operatorToken } from './operator.js'
import { freshFolder, type ShopProcess, startShop } from './shop-process.js'

// Steady load while one thing after another is broken, then the books. The long form is `pnpm soak:shop`.

const long = process.env['MSX_SOAK'] === '1'
const minutes = Number(process.env['SOAK_MINUTES'] ?? 10)
const duration = long ? minutes * 60_000 : 12_000
const rate = Number(process.env['SOAK_RATE'] ?? (long ? 10 : 8))

/** Each is on for a turn; what is killed comes back by itself. */
const troubles: readonly (Record<string, unknown> | undefined)[] = [
  undefined,
  { service: 'payment-service', latency: 400 },
  { service: 'product-service', errors: 0.3 },
  { service: 'order-service', kill: true },
  { service: 'payment-service', route: 'Authorize', drop: 0.3 },
  { service: 'notification-service', errors: 0.5 },
  { service: 'payment-service', kill: true },
  { service: 'user-service', drop: 0.2 },
  { service: 'product-service', kill: true },
]
const turn = long ? 10_000 : duration / troubles.length

const methods = ['card-ok', 'card-ok', 'card-ok', 'card-ok', 'card-declined', 'card-timeout-after-charge'] as const

test('under steady load with faults in turn, every order that was answered ends, and the books balance', {
  timeout: duration + 180_000,
}, async () => {
  const folder = await freshFolder()
  const shop = await startShop(folder.path, { OPS_TOKEN: operatorToken, LOG_LEVEL: 'silent' })
  const op = operator(shop.url)
  const ada = await newCustomer(shop.url)
  const { items } = (await request(shop.url, 'GET', '/api/products')).body
  const onHandAtFirst = new Map<string, number>(items.map(({ id, stock }: Shelf) => [id, stock]))

  const memory: number[] = []
  const until = performance.now() + duration
  const [orders] = await Promise.all([
    load(ada, items, until),
    breakInTurn(op, until),
    watchMemory(shop, until, memory),
  ])
  await op.mend()

  const statuses = await ended(ada, orders.answered)
  const stuck = (await op.request('GET', '/ops/sagas?status=stuck')).body.items
  expect(await readiness(op)).toEqual([200, 200, 200, 200, 200, 200])
  await shop.interrupt()
  const wrong = await audit(folder.path, onHandAtFirst)
  await folder.remove()

  console.log(
    `${orders.answered.length} orders answered with 202 in ${Math.round(duration / 1_000)} s, ${orders.refused} turned away; ` +
      `${statuses.CONFIRMED} CONFIRMED, ${statuses.CANCELLED} CANCELLED; memory ${memory.map(Math.round).join(', ')} MB`,
  )
  expect(wrong).toEqual([])
  expect(stuck).toEqual([])
  expect(statuses.CONFIRMED).toBeGreaterThan(0)
  expect(statuses.CANCELLED).toBeGreaterThan(0)
  if (long) expect(average(memory.slice(-5))).toBeLessThan(average(memory.slice(2, 7)) * 1.3)
})

interface Shelf {
  readonly id: string
  readonly stock: number
}

/** Orders at a rate of its own, however slowly the shop answers. Stock runs out in the long run: that is an ending too. */
async function load(ada: Customer, shelves: readonly Shelf[], until: number) {
  const answered: string[] = []
  const running: Promise<void>[] = []
  let refused = 0
  for (let count = 0; performance.now() < until; count += 1) {
    const productId = shelves[count % shelves.length]?.id ?? ''
    const order = async () => {
      const answer = await ada.order([{ productId, quantity: 1 }], methods[count % methods.length] ?? 'card-ok')
      if (answer.status === 202) answered.push(answer.body.id)
      else if (answer.status >= 500) refused += 1
      else throw new Error(`an order was answered with ${answer.status}: ${JSON.stringify(answer.body)}`)
    }
    running.push(order())
    await sleep(1_000 / rate)
  }
  await Promise.all(running)
  return { answered, refused }
}

async function breakInTurn(op: Operator, until: number): Promise<void> {
  for (let count = 0; performance.now() < until; count += 1) {
    const trouble = troubles[count % troubles.length]
    await op.request('DELETE', '/ops/faults')
    if (trouble !== undefined) await op.request('PUT', '/ops/faults', trouble)
    await sleep(Math.max(0, Math.min(turn, until - performance.now())))
  }
}

async function watchMemory({ pid }: ShopProcess, until: number, megabytes: number[]): Promise<void> {
  while (performance.now() < until) {
    const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '')
    const kilobytes = /^VmRSS:\s+(\d+)/m.exec(status)?.[1]
    if (kilobytes !== undefined) megabytes.push(Number(kilobytes) / 1_024)
    await sleep(Math.max(0, Math.min(duration / 12, until - performance.now())))
  }
}

async function ended(ada: Customer, orders: readonly string[]): Promise<Record<'CONFIRMED' | 'CANCELLED', number>> {
  const statuses = { CONFIRMED: 0, CANCELLED: 0 }
  for (const order of orders) {
    const { status } = (await ada.settled(order, 60_000)).body as { status: keyof typeof statuses }
    statuses[status] += 1
    await expect
      .poll(async () => (await ada.request('GET', `/api/orders/${order}/saga`)).body.status, { timeout: 60_000 })
      .toMatch(/^(completed|compensated)$/)
  }
  return statuses
}

function readiness(op: Operator): Promise<number[]> {
  const names = ['user', 'product', 'order', 'payment', 'notification', 'analytics']
  return Promise.all(
    names.map(async (name) => (await op.request('GET', `/ops/services/${name}-service/health/ready`)).status),
  )
}

function average(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length)
}
