import { readdir, readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { audit, auditFull } from './books.js'
import { type Customer, newCustomer, request } from './customer.js'
import { newPremises, startFullShop } from './full-process.js'
import { type Operator, operator, operatorToken } from './operator.js'
import { freshFolder, startShop } from './shop-process.js'

// Steady load while one thing after another is broken, then the books. The long form is `pnpm soak:shop`; with
// SOAK_MODE=full the shop is seven processes on the four servers, and what is killed is killed by SIGKILL.

const long = process.env['MSX_SOAK'] === '1'
const minutes = Number(process.env['SOAK_MINUTES'] ?? 10)
const duration = long ? minutes * 60_000 : 9_000
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
  const shop = await (process.env['SOAK_MODE'] === 'full' ? sevenProcesses() : oneProcess())
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
  const wrong = await shop.close(onHandAtFirst)

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

interface Soaked {
  readonly url: string
  readonly pid: number
  /** Stops the shop, leaves nothing of it behind, and says what is wrong with its books. */
  close(onHandAtFirst: ReadonlyMap<string, number>): Promise<string[]>
}

const settings = { OPS_TOKEN: operatorToken, LOG_LEVEL: 'silent' }

async function oneProcess(): Promise<Soaked> {
  const folder = await freshFolder()
  const shop = await startShop(folder.path, settings)
  return {
    url: shop.url,
    pid: shop.pid,
    async close(onHandAtFirst) {
      await shop.interrupt()
      const wrong = await audit(folder.path, onHandAtFirst)
      await folder.remove()
      return wrong
    },
  }
}

async function sevenProcesses(): Promise<Soaked> {
  const premises = await newPremises()
  const shop = await startFullShop(premises, settings)
  return {
    url: shop.url,
    pid: shop.pid,
    async close(onHandAtFirst) {
      await shop.end('SIGINT')
      const server = process.env['DATABASE_URL'] ?? 'postgres://postgres@127.0.0.1:5432/postgres'
      const wrong = await auditFull(server, premises.shop, onHandAtFirst)
      await premises.drop()
      return wrong
    },
  }
}

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

async function watchMemory({ pid }: Soaked, until: number, megabytes: number[]): Promise<void> {
  while (performance.now() < until) {
    megabytes.push(await residentMegabytes(pid))
    await sleep(Math.max(0, Math.min(duration / 12, until - performance.now())))
  }
}

/** Of a process and those that it started. */
async function residentMegabytes(pid: number): Promise<number> {
  const ids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name))
  const statuses = await Promise.all(ids.map((id) => readFile(`/proc/${id}/status`, 'utf8').catch(() => '')))
  const own = statuses.filter((text, index) => Number(ids[index]) === pid || field(text, 'PPid') === pid)
  return own.reduce((sum, text) => sum + field(text, 'VmRSS'), 0) / 1_024
}

function field(status: string, name: string): number {
  return Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)?.[1] ?? 0)
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
