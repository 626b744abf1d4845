import { readFile } from 'node:fs/promises'
import client, { Registry } from 'prom-client'
import { expect, it } from 'vitest'
import { NonRetryableError } from './errors.js'
import { deferred, fixture } from './internal/fixture.js'
import { rest } from './internal/virtual-clock.js'
import { memory } from './memory/memory.js'
import { prometheus } from './prometheus.js'
import type { ConnectionNotice, Transport } from './transport.js'

function measured(prefix?: string) {
  const registry = new Registry()
  /** The lines of the exposition that begin so and are not 0. */
  const lines = async (start: string) =>
    (await registry.metrics()).split('\n').filter((line) => line.startsWith(start) && !line.endsWith(' 0'))
  return { registry, lines, metrics: prometheus({ client, registry, prefix }) }
}

it('counts what was published by its event and how that ended', async () => {
  const { metrics, lines } = measured()
  const { bus } = fixture()
  metrics.add(bus)
  bus.subscribe('g', 'order.created', () => {})

  await bus.publish('order.created', { orderId: '1' })
  await bus.publish('order.created', { orderId: '2' })
  await expect(bus.publish('price.asked', { sku: 's' })).rejects.toMatchObject({ code: 'MSX_UNROUTABLE' })

  expect(await lines('messaging_published_total')).toEqual([
    'messaging_published_total{bus="tests",type="order.created",outcome="confirmed"} 2',
    'messaging_published_total{bus="tests",type="price.asked",outcome="failed"} 1',
  ])
  expect(await lines('messaging_publish_failures_total')).toEqual([
    'messaging_publish_failures_total{bus="tests",type="price.asked",code="MSX_UNROUTABLE"} 1',
  ])
  expect(await lines('messaging_publish_duration_seconds_count')).toEqual([
    'messaging_publish_duration_seconds_count{bus="tests",type="order.created"} 2',
  ])
})

it('counts attempts, retries and dead letters, and how long attempts took in seconds', async () => {
  const { metrics, lines } = measured()
  const { bus, broker, clock } = fixture()
  metrics.add(bus)
  bus.subscribe(
    'g',
    'order.created',
    async ({ data, attempt }) => {
      if (data.orderId === 'bad') throw new NonRetryableError('no')
      await clock.advance(250)
      if (attempt < 3) throw new Error('not yet')
    },
    { retry: { immediate: 1, delays: [1_000] } },
  )

  await bus.publish('order.created', { orderId: '1' })
  await broker.drain()
  await clock.advance(1_000)
  await broker.drain()
  await bus.publish('order.created', { orderId: 'bad' })
  await broker.drain()

  const labels = 'bus="tests",type="order.created",group="g"'
  expect(await lines('messaging_handled_total')).toEqual([
    `messaging_handled_total{${labels},outcome="retry"} 2`,
    `messaging_handled_total{${labels},outcome="success"} 1`,
    `messaging_handled_total{${labels},outcome="deadLetter"} 1`,
  ])
  expect(await lines('messaging_retries_total')).toEqual([
    `messaging_retries_total{${labels},when="now"} 1`,
    `messaging_retries_total{${labels},when="later"} 1`,
  ])
  expect(await lines('messaging_dead_letters_total')).toEqual([
    `messaging_dead_letters_total{${labels},code="MSX_NON_RETRYABLE"} 1`,
  ])
  expect(await lines('messaging_handle_duration_seconds_sum')).toEqual([
    `messaging_handle_duration_seconds_sum{${labels},outcome="retry"} 0.5`,
    `messaging_handle_duration_seconds_sum{${labels},outcome="success"} 0.25`,
  ])
})

it('has one label for all events that the catalogue does not know', async () => {
  const { metrics, lines } = measured()
  const { bus, broker } = fixture()
  metrics.add(bus)
  bus.subscribe('g', 'order.*', () => {})
  await bus.start()

  const foreign = await broker.connect({ name: 'foreign' })
  for (let n = 0; n < 50; n += 1) {
    await foreign.publish({ type: `order.${n}`, body: Buffer.from('{}'), headers: {} }, { mandatory: true })
  }
  await broker.drain()

  expect(await lines('messaging_dead_letters_total')).toEqual([
    'messaging_dead_letters_total{bus="tests",type="other",group="g",code="MSX_UNKNOWN_EVENT"} 50',
  ])
})

it('shows what is under way, and the state of connection and subscriptions, when asked', async () => {
  const { metrics, lines } = measured()
  let notify: (notice: ConnectionNotice) => void = () => {}
  const broker = memory()
  const transport: Transport = {
    connect: (options) => {
      notify = options.notify ?? notify
      return broker.connect(options)
    },
  }
  const { bus } = fixture({ transport })
  metrics.add(bus)
  const gate = deferred()
  const subscription = bus.subscribe('g', 'order.created', () => gate.promise)
  expect(await lines('messaging_connection_state')).toEqual(['messaging_connection_state{bus="tests",state="down"} 1'])

  await bus.publish('order.created', { orderId: '1' })
  await rest()
  expect(await lines('messaging_handling')).toEqual(['messaging_handling{bus="tests",group="g"} 1'])
  expect(await lines('messaging_connection_state')).toEqual(['messaging_connection_state{bus="tests",state="up"} 1'])
  expect(await lines('messaging_subscription_state')).toEqual([
    'messaging_subscription_state{bus="tests",group="g",state="running"} 1',
  ])

  notify({ event: 'blocked', blocked: true, reason: 'low on memory' })
  expect(await lines('messaging_blocked')).toEqual(['messaging_blocked{bus="tests"} 1'])
  expect(bus.health().publisher.blocked).toBe('low on memory')
  notify({ event: 'blocked', blocked: false })
  notify({ event: 'connection', state: 'down' })
  expect(await lines('messaging_blocked')).toEqual([])
  expect(await lines('messaging_connection_losses_total')).toEqual(['messaging_connection_losses_total{bus="tests"} 1'])

  gate.open()
  await subscription.pause()
  expect(await lines('messaging_subscription_state')).toEqual([
    'messaging_subscription_state{bus="tests",group="g",state="paused"} 1',
  ])
  await bus.close()
})

it('counts once what is added twice, and nothing after it is removed', async () => {
  const { metrics, lines } = measured()
  const { bus } = fixture()
  const remove = metrics.add(bus)
  expect(metrics.add(bus)).toBe(remove)
  bus.subscribe('g', 'order.created', () => {})

  await bus.publish('order.created', { orderId: '1' })
  remove()
  remove()
  await bus.publish('order.created', { orderId: '2' })

  expect(await lines('messaging_published_total')).toEqual([
    'messaging_published_total{bus="tests",type="order.created",outcome="confirmed"} 1',
  ])
  expect(await lines('messaging_connection_state')).toEqual([])
})

it('has the metrics that the README lists, under a prefix', async () => {
  const { registry } = measured('shop_')
  const readme = await readFile(new URL('../README.md', import.meta.url), 'utf8')
  const documented = [...readme.matchAll(/^\| `(messaging_\w+)`/gm)].map((match) => `shop_${match[1]}`)

  expect(documented.sort()).toEqual(
    registry
      .getMetricsAsArray()
      .map(({ name }) => name)
      .sort(),
  )
})

it.each([
  [undefined, /options/],
  [{ client: {}, registry: {} }, /client/],
  [{ client, registry: undefined }, /registry/],
  [{ client, registry: new Registry(), prefix: 5 }, /prefix .* got 5/],
])('refuses %o', (options, message) => {
  expect(() => prometheus(options as never)).toThrow(TypeError)
  expect(() => prometheus(options as never)).toThrow(message)
})

it('does not measure what is no bus, relay or inbox', () => {
  expect(() => measured().metrics.add({} as never)).toThrow(
    /add\(thing\) must be a bus, the relay of an outbox or an inbox, got {}/,
  )
  expect(() => measured().metrics.add(undefined as never)).toThrow(TypeError)
})
