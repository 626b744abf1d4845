import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Customer, customer, expectDeparture, newCustomer, request } from './customer.js'
import { type DnsRelay, dnsRelay } from './dns-relay.js'
import {
  consulDns,
  type FullShopProcess,
  isAlive,
  newPremises,
  type Premises,
  type Registration,
  registrations,
  serversAnswer,
  startFullShop,
} from './full-process.js'
import { type Operator, operator, operatorToken } from './operator.js'
import { reachableFromOutside } from './outside.js'
import { dashboardQueries, findPrometheus, startPrometheus } from './prometheus.js'
import { otlpKind, otlpReceiver, type Receiver } from './receiver.js'
import { placeOf, placeOfReservation } from './trace.js'

const services = [
  'analytics-service',
  'api-gateway',
  'notification-service',
  'order-service',
  'payment-service',
  'product-service',
  'user-service',
]

const startTimeout = 90_000

describe.skipIf(!(await serversAnswer()))('the shop as seven processes', { timeout: 60_000 }, () => {
  let premises: Premises
  let shop: FullShopProcess
  let ada: Customer
  let op: Operator
  let receiver: Receiver
  let relay: DnsRelay

  beforeAll(async () => {
    premises = await newPremises()
    receiver = await otlpReceiver()
    shop = await startFullShop(premises, { OPS_TOKEN: operatorToken, OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url })
    ada = await newCustomer(shop.url)
    op = operator(shop.url)
  }, startTimeout)

  afterAll(async () => {
    await shop?.end('SIGTERM')
    await premises?.drop()
    await receiver?.close()
    relay?.close()
  }, startTimeout)

  test('is one living process for each service', async () => {
    const running = await registrations(premises.shop)

    expect(running.map(({ service }) => service).sort()).toEqual(services)
    expect(new Set(running.map(({ pid }) => pid)).size).toBe(services.length)
    expect(running.filter(({ pid }) => !isAlive(pid))).toEqual([])
    expect(await reachableFromOutside([...running.map(({ http }) => http), shop.url])).toEqual([])
  })

  test('keeps each service out of the databases of the others', async () => {
    const passwords = JSON.parse(await readFile(join(premises.dataDir, 'full', 'passwords.json'), 'utf8'))
    const roles = Object.keys(passwords)
    expect(roles).toHaveLength(6)

    const entered: string[] = []
    for (const role of roles) {
      for (const database of roles) {
        const url = new URL(process.env['DATABASE_URL'] ?? 'postgres://127.0.0.1:5432')
        const client = new pg.Client({
          host: url.hostname,
          port: Number(url.port) || 5432,
          user: role,
          password: passwords[role],
          database,
        })
        const refused = await client.connect().then(
          () => undefined,
          ({ code }) => code,
        )
        await client.end().catch(() => undefined)
        if ((refused === '42501') === (role === database)) entered.push(`${role} in ${database}: ${refused}`)
      }
    }
    expect(entered).toEqual([])
  })

  test('takes an order to CONFIRMED, and everybody who subscribed hears of it', async () => {
    const before = await stockOf('espresso-cup')

    const accepted = await ada.order([{ productId: 'espresso-cup', quantity: 2 }], 'card-ok')
    expect(accepted.status).toBe(202)

    expect((await ada.settled(accepted.body.id)).body.status).toBe('CONFIRMED')
    await sagaEnds(accepted.body.id, 'completed')
    expect(await stockOf('espresso-cup')).toBe(before - 2)
    await expect.poll(() => typesToldOf(accepted.body.id), patient).toEqual(['order.confirmed', 'order.created'])
    await expect.poll(counted, patient).toMatchObject({ 'order.confirmed': 1, 'user.registered': 1 })
  })

  test('is one trace from the gateway to the notification, as a collector of its own hears of it', async () => {
    const order = (await ada.order([{ productId: 'espresso-cup', quantity: 1 }], 'card-ok')).body.id
    await sagaEnds(order, 'completed')

    const servicesOf = () => {
      const traceId = receiver.spans.find(({ attributes }) => attributes['shop.order.id'] === order)?.traceId
      const spans = receiver.spans.filter((span) => span.traceId === traceId)
      return [...new Set(spans.map(({ service }) => service))]
    }
    await expect
      .poll(servicesOf, patient)
      .toEqual(
        expect.arrayContaining([
          'api-gateway',
          'order-service',
          'product-service',
          'payment-service',
          'notification-service',
        ]),
      )

    const { spans } = receiver
    const made = spans.find(({ attributes }) => attributes['shop.order.id'] === order)
    const trace = spans.filter(({ traceId }) => traceId === made?.traceId)
    const asked = trace.find(({ service, kind }) => service === 'api-gateway' && kind === otlpKind.server)
    const attempts = trace.filter(({ parentSpanId }) => parentSpanId === asked?.spanId)
    expect(attempts).toMatchObject([{ service: 'api-gateway', name: 'POST', kind: otlpKind.client }])
    expect(trace.filter(({ parentSpanId }) => parentSpanId === attempts[0]?.spanId)).toMatchObject([
      { service: 'order-service', name: 'POST /api/orders', kind: otlpKind.server },
    ])

    // Each service sends its spans when it has some of them together.
    const place = () => {
      const all = receiver.spans.filter(({ traceId }) => traceId === made?.traceId)
      const spans = all.map(({ parentSpanId, ...span }) => ({ ...span, parentId: parentSpanId }))
      return placeOf('reserveInventory', spans)
    }
    await expect.poll(place, patient).toEqual(placeOfReservation)
  })

  test('is scraped by a real Prometheus, and each query of the dashboards has data', async (context) => {
    const program = findPrometheus()
    if (program === undefined) {
      context.skip('there is no prometheus on this machine; `node scripts/deployment/tools.mjs` gets one')
      return
    }
    const targets = (await registrations(premises.shop)).map(({ service, http }) => ({
      service,
      address: new URL(http).host,
    }))
    const prometheus = await startPrometheus(program, targets)
    try {
      const up = async () =>
        (await prometheus.query('up'))
          .filter(({ value }) => value === 1)
          .map(({ metric }) => metric['service'])
          .sort()
      await expect.poll(up, patient).toEqual(services)

      await ada.settled((await ada.order([{ productId: 'espresso-cup', quantity: 1 }], 'card-ok')).body.id)
      for (const query of await dashboardQueries()) {
        await expect
          .poll(async () => (await prometheus.query(query)).length, { ...patient, message: query })
          .toBeGreaterThan(0)
      }
    } finally {
      await prometheus.stop()
    }
  })

  test('keeps whoever deleted the account from its orders, although the token is good yet', async () => {
    await expectDeparture(shop.url)
  })

  test('is operated over HTTP: edges, faults with their effect, and a kill', async () => {
    await op.break({ service: 'product-service', route: 'GET /api/products/:id', errors: 1 })
    await request(shop.url, 'GET', '/api/products/espresso-cup')
    expect((await op.faults())[0]?.effect.failed).toBeGreaterThan(0)
    expect(await op.edge('order-service', 'payment-service')).toMatchObject({ kind: 'grpc', breaker: 'closed' })

    const killed = await processOf('product-service')
    await op.break({ service: 'product-service', kill: true })
    await expect.poll(async () => (await processOf('product-service'))?.pid, patient).not.toBe(killed.pid)
    await expect.poll(async () => (await op.faults())[0]?.effect.seen, patient).toBe(0)
    await op.mend()
    await expect
      .poll(async () => (await request(shop.url, 'GET', '/api/products/espresso-cup')).status, patient)
      .toBe(200)
    expect((await op.request('GET', '/ops/services/payment-service/metrics')).status).toBe(200)
  })

  test('takes an order with a declined card to CANCELLED, with the stock back', async () => {
    const before = await stockOf('espresso-cup')

    const accepted = await ada.order([{ productId: 'espresso-cup', quantity: 3 }], 'card-declined')

    expect((await ada.settled(accepted.body.id)).body.status).toBe('CANCELLED')
    expect(await stockOf('espresso-cup')).toBe(before)
    await expect.poll(() => typesToldOf(accepted.body.id), patient).toEqual(['order.cancelled', 'order.created'])
  })

  test('ends an order whose service is killed in mid-saga, once the next process has taken over', async () => {
    const before = await stockOf('espresso-cup')
    const killed = await processOf('order-service')
    const accepted = await ada.order([{ productId: 'espresso-cup', quantity: 1 }], 'card-timeout-after-charge')
    // The stock is promised, and the payment hangs for longer than this takes.
    await expect.poll(() => stockOf('espresso-cup'), patient).toBe(before - 1)

    process.kill(killed.pid, 'SIGKILL')

    await expect.poll(async () => (await processOf('order-service'))?.pid, patient).not.toBe(killed.pid)
    await sagaEnds(accepted.body.id, 'compensated')
    expect((await ada.settled(accepted.body.id)).body.status).toBe('CANCELLED')
    expect(await stockOf('espresso-cup')).toBe(before)
    expect(await ledgerOf(accepted.body.id)).toEqual(['authorise', 'void'])
    expect(shop.output()).toMatch(/order-service +ended with SIGKILL; it starts again in 250 ms/)
    expect((await registrations(premises.shop)).map(({ service }) => service).sort()).toEqual(services)
  })

  test('ends every order well whose service is killed while it waits for an answer, at whichever step', async () => {
    const before = await stockOf('espresso-cup')
    const killed = await processOf('order-service')
    const reservation = '/internal/reservations/:orderId'
    // From the last step to the first: what an order must pass is broken after it has passed. Steps that ask nobody are one
    // transaction each.
    const waiting = [
      ['commit-stock', 'product-service', `POST ${reservation}/commit`, 'card-ok'],
      ['capture', 'payment-service', 'Capture', 'card-ok'],
      ['undo reserve', 'product-service', `DELETE ${reservation}`, 'card-declined'],
      ['authorise', 'payment-service', 'Authorize', 'card-ok'],
      ['reserve', 'product-service', `PUT ${reservation}`, 'card-ok'],
    ] as const
    const ids: string[] = []
    for (const [, service, route, method] of waiting) {
      await op.break({ service, route, latency: 5_000 })
      ids.push((await ada.order([{ productId: 'espresso-cup', quantity: 1 }], method)).body.id)
      const seen = async () => (await op.faults()).find((fault) => fault.route === route)?.effect.seen
      await expect.poll(seen, { ...patient, interval: 10 }).toBeGreaterThan(0)
    }

    process.kill(killed.pid, 'SIGKILL')
    await op.mend()

    await expect.poll(async () => (await processOf('order-service'))?.pid, patient).not.toBe(killed.pid)
    const ends: Record<string, unknown> = {}
    for (const [index, [step]] of waiting.entries()) {
      const id = ids[index] as string
      const { status } = (await ada.settled(id, patient.timeout)).body
      await sagaEnds(id, status === 'CONFIRMED' ? 'completed' : 'compensated')
      ends[step] = [status, await ledgerOf(id)]
    }
    const sold = [['CONFIRMED', ['authorise', 'capture']]]
    const notSold = [
      ['CANCELLED', []],
      ['CANCELLED', ['authorise', 'void']],
    ]
    expect(sold).toContainEqual(ends['commit-stock'])
    expect(sold).toContainEqual(ends['capture'])
    expect(notSold).toContainEqual(ends['undo reserve'])
    // Nobody knows whether these were answered, so either end is a good one, with the money and the goods where they belong.
    expect([...sold, ...notSold]).toContainEqual(ends['authorise'])
    expect([...sold, ...notSold]).toContainEqual(ends['reserve'])
    const confirmed = Object.values(ends).filter((end) => (end as string[])[0] === 'CONFIRMED').length
    await expect.poll(() => stockOf('espresso-cup'), patient).toBe(before - confirmed)
  })

  test(
    'leaves no process and no registration behind after Ctrl-C, and keeps what was bought for the next start',
    async () => {
      const running = await registrations(premises.shop)
      const order = (await ada.order([{ productId: 'espresso-cup', quantity: 1 }], 'card-ok')).body
      await ada.settled(order.id)

      expect(await shop.end('SIGINT')).toBe(0)

      expect(running.filter(({ pid }) => isAlive(pid))).toEqual([])
      expect(await registrations(premises.shop)).toEqual([])
      await expect(fetch(shop.url)).rejects.toThrow()

      relay = await dnsRelay(await consulDns())
      shop = await startFullShop(premises, {
        OPS_TOKEN: operatorToken,
        DISCOVERY: 'dns',
        DNS_SERVERS: relay.address,
      })
      op = operator(shop.url)
      ada = customer(shop.url, ada.id, ada.email, ada.token)
      expect((await ada.request('GET', `/api/orders/${order.id}`)).body.status).toBe('CONFIRMED')
    },
    startTimeout,
  )

  test('finds its services by DNS where it is told to, and follows one that is killed', async () => {
    const [before] = await instancesOf('product-service')
    const first = (await ada.order([{ productId: 'espresso-cup', quantity: 1 }], 'card-ok')).body
    expect((await ada.settled(first.id)).body.status).toBe('CONFIRMED')
    expect([...relay.asked]).toEqual(
      expect.arrayContaining(
        ['user-service', 'product-service', 'order-service', 'payment-service', 'payment-service-http'].map(
          (name) => `${premises.shop}.${name}.service.consul`,
        ),
      ),
    )

    process.kill((await processOf('product-service')).pid, 'SIGKILL')

    const others = async () => {
      const found = await instancesOf('product-service')
      return found.length === 1 && found[0]?.ready === true && found[0].address !== before?.address
    }
    await expect.poll(others, patient).toBe(true)
    // Each process asks for itself: order-service may hear of it a second after the gateway, and says 503 until then.
    let second = await ada.order([{ productId: 'espresso-cup', quantity: 1 }], 'card-ok')
    const taken = async () => {
      if (second.status === 503) second = await ada.order([{ productId: 'espresso-cup', quantity: 1 }], 'card-ok')
      return second.status
    }
    await expect.poll(taken, patient).toBe(202)
    expect((await ada.settled(second.body.id)).body).toMatchObject({ status: 'CONFIRMED' })
    expect((await op.request('GET', '/ops/services/payment-service/health/ready')).status).toBe(200)
  })

  test('ends all its services also when nobody is left to stop them', async () => {
    const running = await registrations(premises.shop)
    expect(new Set(running.map(({ pid }) => pid)).size).toBe(services.length)

    await shop.end('SIGKILL')

    await expect.poll(() => running.filter(({ pid }) => isAlive(pid)), patient).toEqual([])
    expect(await registrations(premises.shop)).toEqual([])
  })

  const patient = { timeout: 30_000, interval: 50 }

  async function stockOf(product: string): Promise<number> {
    return (await request(shop.url, 'GET', `/api/products/${product}`)).body.stock
  }

  async function sagaEnds(orderId: string, status: string): Promise<void> {
    const saga = async () => (await ada.request('GET', `/api/orders/${orderId}/saga`)).body?.status
    await expect.poll(saga, patient).toBe(status)
  }

  async function instancesOf(name: string): Promise<{ address: string; ready: boolean }[]> {
    const { nodes } = (await op.request('GET', '/ops/topology')).body
    return nodes.find((node: { name: string }) => node.name === name).instances
  }

  async function processOf(name: string): Promise<Registration> {
    const found = (await registrations(premises.shop)).find(({ service }) => service === name)
    return found as Registration
  }

  async function typesToldOf(orderId: string): Promise<string[]> {
    const { http } = await processOf('notification-service')
    const { items } = (await request(http, 'GET', `/internal/notifications?userId=${ada.id}`)).body
    return items
      .filter((item: { orderId: string }) => item.orderId === orderId)
      .map((item: { type: string }) => item.type)
      .sort()
  }

  async function ledgerOf(orderId: string): Promise<string[]> {
    const { http } = await processOf('payment-service')
    const { ledger = [] } = (await request(http, 'GET', `/internal/payments/${orderId}`)).body
    return ledger.map((line: { entry: string }) => line.entry)
  }

  async function counted(): Promise<Record<string, number>> {
    const { http } = await processOf('analytics-service')
    return (await request(http, 'GET', '/internal/summary')).body.events
  }
})
