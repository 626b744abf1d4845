import { describe, expect, test } from 'vitest'
import { createBus } from './bus.js'
import { deferred, events, fixture } from './internal/fixture.js'
import { rest } from './internal/virtual-clock.js'

describe('a request', () => {
  test('resolves with the answer of a handler in another bus', async () => {
    const { bus, broker } = fixture()
    const prices = createBus({ events, transport: broker, source: 'prices' })
    prices.subscribe('prices', 'price.asked', (message, context) =>
      context.reply('price.told', { cents: message.data.sku.length }),
    )
    await prices.start()

    const answers = await Promise.all(
      ['a', 'bb'].map((sku) => bus.request('price.asked', { sku }, { reply: 'price.told', timeout: 1_000 })),
    )

    expect(answers).toEqual([{ cents: 1 }, { cents: 2 }])
    expect(broker.published.map(({ type }) => type)).toEqual(['price.asked', 'price.asked'])
  })

  test('rejects when nobody can answer, and when nobody does in time', async () => {
    const { bus, clock } = fixture()
    const request = () => bus.request('price.asked', { sku: 'a' }, { reply: 'price.told', timeout: 100 })
    await expect(request()).rejects.toMatchObject({ code: 'MSX_UNROUTABLE' })

    bus.subscribe('prices', 'price.asked', () => {})
    const late = expect(request()).rejects.toMatchObject({ code: 'MSX_REQUEST_TIMEOUT', retryable: true })
    await clock.advance(100)

    await late
  })

  test('ignores an answer that comes too late, and the handler that gave it has not failed', async () => {
    const { bus, broker, clock } = fixture()
    const asker = createBus({ events, transport: broker, source: 'asker' })
    const gate = deferred()
    bus.subscribe('prices', 'price.asked', async (_, context) => {
      await gate.promise
      await context.reply('price.told', { cents: 1 })
    })
    await bus.start()

    const late = expect(
      asker.request('price.asked', { sku: 'a' }, { reply: 'price.told', timeout: 100 }),
    ).rejects.toMatchObject({ code: 'MSX_REQUEST_TIMEOUT' })
    await clock.advance(100)
    await late
    await asker.close()
    gate.open()
    await broker.drain()

    expect(broker.deadLetters()).toEqual([])
    expect(broker.queues().map(({ name }) => name)).toEqual(['prices', 'prices.dlq'])
  })

  test('rejects an answer of another kind, and one that is not valid', async () => {
    const { bus } = fixture({ validate: 'consume' })
    let answer: () => [string, unknown] = () => ['order.created', { orderId: '1' }]
    bus.subscribe('prices', 'price.asked', (_, context) => {
      const [type, data] = answer()
      return context.reply(type as 'price.told', data as { cents: number })
    })
    const request = () => bus.request('price.asked', { sku: 'a' }, { reply: 'price.told', timeout: 100 })

    await expect(request()).rejects.toMatchObject({ code: 'MSX_UNEXPECTED_REPLY' })
    answer = () => ['price.told', { cents: 'many' }]
    await expect(request()).rejects.toMatchObject({ code: 'MSX_VALIDATION' })
  })

  test('rejects when its bus gives up closing', async () => {
    const { bus, clock } = fixture()
    bus.subscribe('prices', 'price.asked', () => {})
    const request = expect(
      bus.request('price.asked', { sku: 'a' }, { reply: 'price.told', timeout: 60_000 }),
    ).rejects.toMatchObject({ code: 'MSX_CLOSED' })
    await rest()

    const closed = bus.close({ timeout: 10 })
    await clock.advance(10)

    await Promise.all([closed, request])
  })

  test.each([
    [{ reply: 'price.told' }, /timeout must be a number of milliseconds/],
    [{ reply: 'no.such', timeout: 5 }, /reply must be an event of the catalogue, got 'no\.such'/],
  ])('refuses the options %j', async (options, message) => {
    const { bus } = fixture()

    await expect(bus.request('price.asked', { sku: 'a' }, options as never)).rejects.toThrow(message)
  })
})

test('a reply to a message that asked for none does nothing', async () => {
  const { bus, broker } = fixture()
  bus.subscribe('prices', 'price.asked', (_, context) => context.reply('price.told', { cents: 1 }))

  await bus.publish('price.asked', { sku: 'a' })
  await broker.drain()

  expect(broker.deadLetters()).toEqual([])
})

test('a request that was answered leaves no timer behind', async () => {
  const { bus, clock } = fixture()
  let timers = 0
  const { after } = clock
  clock.after = (ms, run) => {
    timers += 1
    const cancel = after(ms, run)
    return () => {
      timers -= 1
      cancel()
    }
  }
  bus.subscribe('prices', 'price.asked', (_, context) => context.reply('price.told', { cents: 1 }))

  await bus.request('price.asked', { sku: 'a' }, { reply: 'price.told', timeout: 1_000 })

  expect(timers).toBe(0)
})
