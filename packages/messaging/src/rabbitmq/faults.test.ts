import { setTimeout as wait } from 'node:timers/promises'
import { afterAll, afterEach, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { createBus } from '../bus.js'
import { defineEvents } from '../catalogue.js'
import { isMessagingError, type MessagingError } from '../errors.js'
import type { ConnectionNotice, Delivery, TransportConnection, WireMessage } from '../transport.js'
import { onChannel } from './channels.js'
import { type TestBroker, testBroker } from './fixture.js'
import type { RabbitmqOptions } from './options.js'
import { type BreakableLine, blockedFrame, proxyTo, unblockedFrame } from './proxy.js'

const available = await testBroker()
const broker = available as TestBroker
const opened: { close(): Promise<unknown> }[] = []

afterEach(async () => {
  // Buses and connections first, so that they do not look for a proxy that is gone.
  for (const thing of opened.splice(0).reverse()) await thing.close()
})
afterAll(() => available?.close())

describe.skipIf(available === undefined)('rabbitmq', { timeout: 20_000 }, () => {
  describe('when the connection breaks', () => {
    test('publishes again, with the same ids, what the broker had not confirmed', async () => {
      const proxy = await proxied()
      const queue = await queueOf('confirm')
      const connection = await connected({ url: proxy.url })

      proxy.mute()
      const published = range(50).map((n) => connection.publish(message(queue, `m-${n}`), { mandatory: true }))
      await until(async () => (await depth(queue)) === 50)
      proxy.cut()
      await Promise.all(published)

      const ids = await drain(queue)
      expect(new Set(ids).size).toBe(50)
      expect(ids).toHaveLength(100)
      expect(ids.slice(50)).toEqual(range(50).map((n) => `m-${n}`))
    })

    test('keeps what is published meanwhile, and sends it in order when it is back', async () => {
      const proxy = await proxied()
      const queue = await queueOf('meanwhile')
      const connection = await connected({ url: proxy.url })

      proxy.refuse(true)
      proxy.cut()
      const published = range(20).map((n) => connection.publish(message(queue, `m-${n}`), { mandatory: true }))
      await until(async () => connection.health() === 'down')
      proxy.refuse(false)
      await Promise.all(published)

      expect(await drain(queue)).toEqual(range(20).map((n) => `m-${n}`))
    })

    test('sends again what was not confirmed before what was not sent yet', async () => {
      const proxy = await proxied()
      const queue = await queueOf('before')
      const connection = await connected({ url: proxy.url })

      proxy.mute()
      const sent = range(5).map((n) => connection.publish(message(queue, `a-${n}`), { mandatory: true }))
      await until(async () => (await depth(queue)) === 5)
      proxy.say(blockedFrame('low on memory'))
      await until(async () => connection.health() === 'degraded')
      const unsent = range(5).map((n) => connection.publish(message(queue, `b-${n}`), { mandatory: true }))
      proxy.cut()
      await Promise.all([...sent, ...unsent])

      const ids = await drain(queue)
      const first = range(5).map((n) => `a-${n}`)
      expect(ids).toEqual([...first, ...first, ...range(5).map((n) => `b-${n}`)])
    })

    test('rejects what it could not confirm in time, saying whether the broker may have it', async () => {
      const proxy = await proxied()
      const queue = await queueOf('lost')
      const connection = await connected({ url: proxy.url, confirmTimeout: 300 })

      proxy.refuse(true)
      proxy.mute()
      const sent = connection.publish(message(queue, 'sent'), { mandatory: true })
      const early = expect(sent).rejects.toMatchObject({ code: 'MSX_CONNECTION_LOST', details: { wasSent: true } })
      await until(async () => (await depth(queue)) === 1)
      proxy.cut()
      await until(async () => connection.health() === 'down')
      const late = connection.publish(message(queue, 'never sent'), { mandatory: true })

      await expect(late).rejects.toMatchObject({
        code: 'MSX_CONNECTION_LOST',
        retryable: true,
        details: { wasSent: false },
      })
      await early
    })

    test('sends nothing again with replay: false, and says that the broker may have it', async () => {
      const proxy = await proxied()
      const queue = await queueOf('replay-false')
      const connection = await connected({ url: proxy.url, replay: false })

      proxy.mute()
      const sent = range(5).map((n) => connection.publish(message(queue, `m-${n}`), { mandatory: true }))
      const settled = Promise.allSettled(sent)
      await until(async () => (await depth(queue)) === 5)
      proxy.refuse(true)
      proxy.cut()
      const outcomes = await settled
      expect(connection.health()).toBe('down')
      // What was never written is not sent again: it is sent.
      const unsent = connection.publish(message(queue, 'later'), { mandatory: true })
      proxy.refuse(false)
      await unsent

      for (const outcome of outcomes) {
        expect(outcome).toMatchObject({
          status: 'rejected',
          reason: {
            code: 'MSX_CONNECTION_LOST',
            retryable: true,
            details: { wasSent: true, sends: 1 },
            message: expect.stringMatching(/the broker may have it.*replay is false/),
          },
        })
      }
      expect(await drain(queue)).toEqual([...range(5).map((n) => `m-${n}`), 'later'])
    })

    test('sends a message again as often as replay.attempts allows, in order', async () => {
      const proxy = await proxied()
      proxy.holdConfirms()
      const queue = await queueOf('replay-attempts')
      const connection = await connected({ url: proxy.url, replay: { attempts: 2, maxAge: 60_000 } })

      const sent = range(3).map((n) => connection.publish(message(queue, `m-${n}`), { mandatory: true }))
      const settled = Promise.allSettled(sent)
      for (const sends of [1, 2, 3]) {
        await until(async () => (await depth(queue)) === 3 * sends)
        proxy.cut()
      }
      const outcomes = await settled

      for (const outcome of outcomes) {
        expect(outcome).toMatchObject({
          status: 'rejected',
          reason: {
            code: 'MSX_CONNECTION_LOST',
            details: { wasSent: true, sends: 3 },
            message: expect.stringMatching(/replay\.attempts is 2/),
          },
        })
      }
      const once = range(3).map((n) => `m-${n}`)
      expect(await drain(queue)).toEqual([...once, ...once, ...once])
    })

    test('rejects what waits to be sent again at replay.maxAge, long before confirmTimeout', async () => {
      const proxy = await proxied()
      const queue = await queueOf('replay-age')
      const connection = await connected({ url: proxy.url, replay: { attempts: 10, maxAge: 400 } })

      proxy.mute()
      const startedAt = performance.now()
      const sent = connection.publish(message(queue, 'old'), { mandatory: true })
      const early = expect(sent).rejects.toMatchObject({
        code: 'MSX_CONNECTION_LOST',
        details: { wasSent: true, sends: 1 },
        message: expect.stringMatching(/replay\.maxAge is 400 ms/),
      })
      await until(async () => (await depth(queue)) === 1)
      proxy.refuse(true)
      proxy.cut()
      await early
      const took = performance.now() - startedAt
      proxy.refuse(false)
      await connection.publish(message(queue, 'new'), { mandatory: true })

      expect(took).toBeGreaterThanOrEqual(399)
      expect(took).toBeLessThan(10_000)
      expect(await drain(queue)).toEqual(['old', 'new'])
    })

    test('loses no message of 1,500 over six cuts, and doubles no more than were on their way', async () => {
      const proxy = await proxied()
      const prefetch = 20
      const window = 64
      const bus = busOn({ url: proxy.url, maxInFlight: window })
      const seen = new Map<string, number>()
      const group = broker.name('cuts')
      bus.subscribe(
        group,
        'thing.done',
        async (received) => {
          seen.set(received.id, (seen.get(received.id) ?? 0) + 1)
        },
        { concurrency: 10, prefetch },
      )
      await bus.start()

      const total = 1_500
      const cuts = 6
      const published: Promise<void>[] = []
      for (const n of range(total)) {
        published.push(bus.publish('thing.done', { n }, { id: `m-${n}` }))
        if (n % 25 === 24) await wait(5)
        if (n % Math.floor(total / cuts) === 100) proxy.cut()
      }
      await Promise.all(published)
      await until(async () => seen.size === total)
      await bus.close()

      expect(seen.size).toBe(total)
      const doubled = [...seen.values()].reduce((sum, times) => sum + times - 1, 0)
      expect(doubled).toBeLessThanOrEqual(cuts * (window + prefetch))
      expect(proxy.made).toBeGreaterThan(2)
      expect(await depth(group)).toBe(0)
    })

    test('gives out again what was delivered and not settled, and ignores settlements of before', async () => {
      const proxy = await proxied()
      const queue = await queueOf('held')
      const connection = await connected({ url: proxy.url })
      const deliveries: Delivery[] = []
      await connection.consume(queue, { prefetch: 2 }, (delivery) => deliveries.push(delivery))
      for (const id of ['a', 'b', 'c']) await connection.publish(message(queue, id), { mandatory: true })
      await until(async () => deliveries.length === 2)

      proxy.cut()
      await until(async () => deliveries.length === 4)

      const [a, b, a2, b2] = deliveries as [Delivery, Delivery, Delivery, Delivery]
      expect([a.gone, b.gone, a2.gone, b2.gone]).toEqual([true, true, false, false])
      a.ack()
      b.reject()
      await wait(50)
      // Two are held, so settling those of before made no room.
      expect(deliveries).toHaveLength(4)
      expect([a2, b2].map(({ message: { id } }) => id).sort()).toEqual(['a', 'b'])
      expect(a2.redelivered).toBe(true)
      a2.ack()
      b2.ack()
      await until(async () => deliveries.length === 5)
      expect(deliveries[4]?.message.id).toBe('c')
    })

    test('does not begin to handle what was fetched over the broken connection', async () => {
      const proxy = await proxied()
      const bus = busOn({ url: proxy.url })
      const begun: string[] = []
      const gate = gateKeeper()
      bus.subscribe(
        broker.name('fetched'),
        'thing.done',
        async ({ id }) => {
          begun.push(id)
          await gate.opened
        },
        { concurrency: 1, prefetch: 5 },
      )
      for (const n of range(5)) await bus.publish('thing.done', { n }, { id: `m-${n}` })
      await until(async () => begun.length === 1)
      await wait(50)

      proxy.cut()
      await until(async () => bus.health().status === 'down')
      await until(async () => bus.health().status === 'up')
      gate.open()
      await until(async () => new Set(begun).size === 5)
      await wait(100)

      // Only the one in the middle of its handler comes twice.
      expect(begun).toHaveLength(6)
    })

    test('tells the bus that it is down and up, once each', async () => {
      const proxy = await proxied()
      const bus = busOn({ url: proxy.url })
      const states: string[] = []
      bus.on('connection', ({ state, error }) => {
        states.push(state)
        if (state === 'down') expect(isMessagingError(error)).toBe(true)
      })
      await bus.start()

      proxy.cut()
      await until(async () => states.length === 3)
      expect(bus.health().status).not.toBe('down')
      await bus.close()

      expect(states).toEqual(['up', 'down', 'up', 'closed'])
    })

    test('makes the queue for replies again', async () => {
      const proxy = await proxied()
      const bus = busOn({ url: proxy.url })
      bus.subscribe(broker.name('asked'), 'thing.asked', async ({ data }, { reply }) => {
        await reply('thing.told', { n: data.n + 1 })
      })
      expect(await bus.request('thing.asked', { n: 1 }, { reply: 'thing.told', timeout: 5_000 })).toEqual({ n: 2 })

      proxy.cut()
      await until(async () => bus.health().status === 'down')
      await until(async () => bus.health().status === 'up')

      expect(await bus.request('thing.asked', { n: 2 }, { reply: 'thing.told', timeout: 5_000 })).toEqual({ n: 3 })
    })

    test('makes the queues of ephemeral subscriptions again, each of which gets every event', async () => {
      const proxy = await proxied()
      // Of its own, so that nobody else listens to it.
      const prices = defineEvents({ 'price.changed': z.object({ n: z.number() }) })
      const buses = [1, 2].map(() => {
        const transport = broker.transport({ url: proxy.url })
        return createBus({ events: prices, transport, source: 'tests' })
      })
      opened.push(...buses)
      const group = broker.name('broadcast')
      const got = buses.map(() => new Set<number>())
      const subscriptions = buses.map((bus, index) =>
        bus.subscribe(group, 'price.changed', ({ data }) => void got[index]?.add(data.n), { ephemeral: true }),
      )
      const [first, second] = buses as [(typeof buses)[0], (typeof buses)[0]]
      await second.start()
      await first.publish('price.changed', { n: 1 })
      await until(async () => got.every((seen) => seen.has(1)))

      proxy.cut()
      await until(async () => buses.every((bus) => bus.health().status === 'down'))
      await until(async () => buses.every((bus) => bus.health().status === 'up'))
      await first.publish('price.changed', { n: 2 })
      await until(async () => got.every((seen) => seen.has(2)))

      await subscriptions[1]?.pause()
      await first.publish('price.changed', { n: 3 })
      await until(async () => got[0]?.has(3) === true)
      await subscriptions[1]?.resume()
      await first.publish('price.changed', { n: 4 })
      await until(async () => got.every((seen) => seen.has(4)))
      expect(got[1]?.has(3)).toBe(false)

      for (const subscription of subscriptions) await subscription.close()
      // The broker may take a moment to delete them.
      await until(async () => (await outcome(first.publish('price.changed', { n: 5 }))) === 'MSX_UNROUTABLE')
      proxy.cut()
      await until(async () => first.health().status === 'down')
      await until(async () => first.health().status === 'up')
      expect(await outcome(first.publish('price.changed', { n: 6 }))).toBe('MSX_UNROUTABLE')
    })

    test('asks a url function for each attempt, and goes through a list in turn', async () => {
      const proxy = await proxied()
      let asked = 0
      const url = async (): Promise<string> => {
        asked += 1
        return proxy.url
      }
      const one = await connected({ url })
      const two = await connected({ url: ['amqp://127.0.0.1:1', proxy.url] })
      expect(asked).toBe(2)

      proxy.cut()
      await until(async () => one.health() === 'down' || asked > 2)
      await until(async () => one.health() === 'up' && two.health() === 'up')
      expect(asked).toBeGreaterThanOrEqual(4)
    })

    test('closes at once while the broker is away', async () => {
      const proxy = await proxied()
      const connection = await connected({ url: proxy.url, reconnect: () => 60_000 })
      const queue = await queueOf('away')
      await connection.consume(queue, { prefetch: 1 }, () => {})
      proxy.refuse(true)
      proxy.cut()
      await until(async () => connection.health() === 'down')
      const waiting = expect(connection.publish(message(queue), { mandatory: true })).rejects.toMatchObject({
        code: 'MSX_CLOSED',
      })

      const startedAt = performance.now()
      await connection.close()

      await waiting
      expect(performance.now() - startedAt).toBeLessThan(1_000)
    })
  })

  describe('when the broker is not there at the start', () => {
    test('says where it looked, without the password, and can be started later', async () => {
      const proxy = await proxied()
      proxy.refuse(true)
      const url = new URL(proxy.url)
      url.password = 'sec-ret'
      await expect(connected({ url: url.href })).rejects.toSatisfy((error: MessagingError) => {
        expect(error).toMatchObject({ code: 'MSX_CONNECTION_LOST', retryable: true })
        expect(error.message).toContain(`127.0.0.1:${url.port}`)
        expect(error.message).not.toContain('sec-ret')
        return true
      })

      const bus = busOn({ url: proxy.url })
      const got: number[] = []
      bus.subscribe(broker.name('later'), 'thing.done', async ({ data }) => {
        got.push(data.n)
      })
      await expect(bus.start()).rejects.toMatchObject({ code: 'MSX_CONNECTION_LOST' })
      proxy.refuse(false)
      await bus.start()
      await bus.publish('thing.done', { n: 7 })

      await until(async () => got.length === 1)
    })

    test('says so when nothing listens there', async () => {
      await expect(connected({ url: 'amqp://localhost:1' })).rejects.toMatchObject({
        code: 'MSX_CONNECTION_LOST',
        message: expect.stringMatching(/localhost:1.*ECONNREFUSED/),
      })
    })

    test('says so when the broker does not know the user', async () => {
      const url = new URL(broker.url)
      url.password = 'wrong'

      await expect(connected({ url: url.href })).rejects.toMatchObject({ code: 'MSX_ACCESS_REFUSED', retryable: false })
    })
  })

  describe('when something is changed on the broker', () => {
    test('declares a deleted queue again and consumes it', async () => {
      const connection = await connected()
      const name = broker.name('deleted')
      await connection.declare({ name, patterns: [name], deadLetterQueue: `${name}.dlq` })
      const got: string[] = []
      await connection.consume(name, { prefetch: 1 }, (delivery) => {
        got.push(delivery.message.id as string)
        delivery.ack()
      })

      await onChannel(broker.admin, (channel) => channel.deleteQueue(name))
      await until(async () => connection.health() === 'degraded')
      await until(async () => connection.health() === 'up')
      await connection.publish(message(name, 'after'), { mandatory: true })

      await until(async () => got.length === 1)
      expect(got).toEqual(['after'])
    })

    test('consumes again on another channel when the broker closes the one it had, and keeps the connection', async () => {
      const proxy = await proxied()
      const bus = busOn({ url: proxy.url })
      const got: number[] = []
      const gate = gateKeeper()
      bus.subscribe(
        broker.name('channel'),
        'thing.done',
        async ({ data }) => {
          got.push(data.n)
          if (got.length === 1) await gate.opened
        },
        { concurrency: 1, prefetch: 1 },
      )
      await bus.publish('thing.done', { n: 1 })
      await until(async () => got.length === 1)

      proxy.breakConsumers()
      // The one in the middle of its handler comes again, over the new channel; settling it on the old one does nothing.
      await until(async () => bus.health().status === 'degraded')
      await until(async () => bus.health().status === 'up')
      gate.open()
      await bus.publish('thing.done', { n: 2 })
      await until(async () => got.length === 3)
      await wait(50)

      expect(got).toEqual([1, 1, 2])
      expect(proxy.made).toBe(2)
    })

    test('declares a deleted exchange again, binds its queues, and publishes to it', async () => {
      const connection = await connected()
      const queue = broker.name('exchange')
      await connection.declare({ name: queue, patterns: [queue] })
      await onChannel(broker.admin, (channel) => channel.deleteExchange(broker.exchange))

      await connection.publish(message(queue), { mandatory: true })

      expect(await drain(queue)).toEqual(['m'])
    })

    test('rejects only what goes to the missing exchange when it is not to declare it', async () => {
      const exchange = `${broker.exchange}.none`
      const connection = await connected({ exchange, topology: 'none' })
      const queue = await queueOf('neighbour')

      const outcomes = await Promise.allSettled([
        connection.send(queue, message('x', 'before')),
        connection.publish(message('x', 'guilty'), { mandatory: true }),
        connection.send(queue, message('x', 'after')),
      ])

      expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
      expect(outcomes[1]).toMatchObject({ reason: { code: 'MSX_EXCHANGE_NOT_FOUND', details: { exchange } } })
      expect(new Set(await drain(queue))).toEqual(new Set(['before', 'after']))
    })

    test('names the queue and the option that another service declared otherwise', async () => {
      const connection = await connected()
      const name = broker.name('mismatch')
      await onChannel(broker.admin, (channel) =>
        channel.assertQueue(name, { durable: true, arguments: { 'x-queue-type': 'classic' } }),
      )

      const error: MessagingError = await connection
        .declare({ name, patterns: [name], deadLetterQueue: `${name}.dlq` })
        .then(
          () => undefined as never,
          (reason) => reason,
        )

      expect(error).toMatchObject({
        code: 'MSX_TOPOLOGY_MISMATCH',
        retryable: false,
        details: { queue: name, option: 'x-dead-letter-exchange', there: expect.stringContaining('none') },
      })
      expect(error.message).toContain(`'${name}' is there with other options`)
      expect(connection.health()).toBe('up')
    })

    test('keeps a retry whose queue was deleted, and holds up no other', async () => {
      const connection = await connected()
      const doomed = broker.name('doomed')
      const alive = broker.name('alive')
      await connection.declare({ name: doomed, patterns: [] })
      await connection.declare({ name: alive, patterns: [] })
      await Promise.all(range(40).map((n) => connection.send(doomed, message('thing.done', `d-${n}`), { delay: 1 })))
      await onChannel(broker.admin, (channel) => channel.deleteQueue(doomed))

      await connection.send(alive, message('thing.done', 'a'), { delay: 1 })

      await until(async () => (await depth(alive)) === 1)
      await until(async () => (await depth(`${broker.exchange}.unclaimed`)) === 40)
    })

    test('settles what is held although a queue is not there', async () => {
      const connection = await connected()
      const queue = await queueOf('held-get')
      await connection.send(queue, message('x', 'held'))
      const held = await untilDefined(() => connection.get(queue))

      await expect(connection.get(`${queue}.missing`)).rejects.toMatchObject({ code: 'MSX_QUEUE_NOT_FOUND' })
      await expect(connection.depth(`${queue}.missing`)).rejects.toMatchObject({ code: 'MSX_QUEUE_NOT_FOUND' })
      held.ack()
      await connection.close()

      expect(await depth(queue)).toBe(0)
    })
  })

  describe('when the broker is slow', () => {
    // Again where the machine stood still for a few ms between two lines: then the third has time left to be written.
    test('lets no more than maxInFlight be unconfirmed; others wait, or are rejected', { retry: 2 }, async () => {
      const proxy = await proxied()
      const queue = await queueOf('window')
      const patient = await connected({ url: proxy.url, maxInFlight: 2, confirmTimeout: 400 })
      const strict = await connected({ url: proxy.url, maxInFlight: 2, onFull: 'reject' })
      const big = await connected({ url: proxy.url, maxInFlightBytes: 3, onFull: 'reject' })

      proxy.mute()
      const codes = (connection: TransportConnection): Promise<string[]> =>
        Promise.all(range(3).map(() => outcome(connection.publish(message(queue), { mandatory: true }))))
      const waited = codes(patient)
      await until(async () => (await depth(queue)) === 2)
      await wait(50)
      expect(await depth(queue)).toBe(2)
      const refused = range(3).map(() => outcome(strict.publish(message(queue), { mandatory: true })))
      void outcome(big.publish(message(queue), { mandatory: true }))

      expect(await refused[2]).toBe('MSX_WINDOW_FULL')
      expect(await outcome(big.publish(message(queue), { mandatory: true }))).toBe('MSX_WINDOW_FULL')
      expect(await waited).toEqual(['MSX_CONFIRM_TIMEOUT', 'MSX_CONFIRM_TIMEOUT', 'MSX_WINDOW_FULL'])
      proxy.refuse(true)
      proxy.cut()
    })

    test('notices a broker that went silent, and publishes again elsewhere', async () => {
      const proxy = await proxied()
      const queue = await queueOf('silent')
      const connection = await connected({ url: proxy.url, heartbeat: 1_000 })

      proxy.mute()
      await connection.publish(message(queue, 'm'), { mandatory: true })

      expect(proxy.made).toBeGreaterThan(2)
      expect(new Set(await drain(queue))).toEqual(new Set(['m']))
    })

    test('closes all the same when the broker no longer answers', async () => {
      const proxy = await proxied()
      const queue = await queueOf('mute')
      const connection = await connected({ url: proxy.url })
      await connection.consume(queue, { prefetch: 1 }, () => {})
      proxy.mute()
      const publishing = outcome(connection.publish(message(queue), { mandatory: true }))

      const startedAt = performance.now()
      await connection.close()

      expect(performance.now() - startedAt).toBeLessThan(4_000)
      expect(await publishing).toBe('MSX_CLOSED')
    })

    test('writes nothing while the broker is blocked, and everything once it is not', async () => {
      const proxy = await proxied()
      const queue = await queueOf('blocked')
      const notices: ConnectionNotice[] = []
      const connection = await connected({ url: proxy.url }, (notice) => notices.push(notice))

      proxy.say(blockedFrame('low on memory'))
      await until(async () => connection.health() === 'degraded')
      const published = range(5).map((n) => connection.publish(message(queue, `m-${n}`), { mandatory: true }))
      await wait(50)
      expect(await depth(queue)).toBe(0)
      proxy.say(unblockedFrame())
      await Promise.all(published)

      expect(await drain(queue)).toEqual(range(5).map((n) => `m-${n}`))
      expect(notices).toEqual([
        { event: 'blocked', blocked: true, reason: 'low on memory' },
        { event: 'blocked', blocked: false, reason: undefined },
      ])
    })

    test('names the message whose headers no frame can carry, and no other', async () => {
      const connection = await connected()
      const queue = await queueOf('headers')
      const fat = { ...message(queue, 'fat'), headers: { text: 'x'.repeat(200_000) } }

      const outcomes = await Promise.all([
        outcome(connection.publish(message(queue, 'before'), { mandatory: true })),
        outcome(connection.publish(fat, { mandatory: true })),
        outcome(connection.publish(message(queue, 'after'), { mandatory: true })),
      ])

      expect(outcomes).toEqual(['resolved', 'MSX_TOO_LARGE', 'resolved'])
    })
  })

  test('lets the queue take in what was settled right before it closes', async () => {
    const connection = await connected()
    const queue = await queueOf('settled')
    const deliveries: Delivery[] = []
    await Promise.all(range(2_000).map((n) => connection.publish(message(queue, `${n}`), { mandatory: true })))
    const consumer = await connection.consume(queue, { prefetch: 2_000 }, (delivery) => deliveries.push(delivery))
    await until(async () => deliveries.length === 2_000)

    await consumer.cancel()
    for (const delivery of deliveries) delivery.ack()
    await connection.close()

    await wait(100)
    // All of it when closing overtakes; on a very busy disk the broker may forget the last ones, and there is no asking.
    expect(await depth(queue)).toBeLessThan(200)
  })
})

const events = defineEvents({
  'thing.done': z.object({ n: z.number() }),
  'thing.asked': z.object({ n: z.number() }),
  'thing.told': z.object({ n: z.number() }),
})

function busOn(options: Partial<RabbitmqOptions>) {
  const bus = createBus({ events, transport: broker.transport(options), source: 'tests' })
  opened.push(bus)

  return bus
}

async function connected(
  options: Partial<RabbitmqOptions> = {},
  notify?: (notice: ConnectionNotice) => void,
): Promise<TransportConnection> {
  const connection = await broker.transport(options).connect({ name: 'faults', notify })
  opened.push(connection)

  return connection
}

async function proxied(): Promise<BreakableLine> {
  const proxy = await proxyTo(broker.url)
  opened.push(proxy)

  return proxy
}

/** A queue that is bound with its own name. */
async function queueOf(word: string): Promise<string> {
  const name = broker.name(word)
  const connection = await broker.transport().connect({ name: 'faults' })
  await connection.declare({ name, patterns: [name] })
  await connection.close()

  return name
}

async function depth(queue: string): Promise<number> {
  const { messageCount } = await onChannel(broker.admin, (channel) => channel.checkQueue(queue))

  return messageCount
}

/** The ids of what lies in a queue, in order. */
async function drain(queue: string): Promise<string[]> {
  return onChannel(broker.admin, async (channel) => {
    const ids: string[] = []
    for (;;) {
      const raw = await channel.get(queue, { noAck: true })
      if (raw === false) return ids
      ids.push(raw.properties.messageId as string)
    }
  })
}

function message(type: string, id = 'm'): WireMessage {
  return { type, body: Buffer.from('{}'), headers: {}, id }
}

function range(count: number): number[] {
  return Array.from({ length: count }, (_, n) => n)
}

function gateKeeper(): { readonly opened: Promise<void>; open(): void } {
  let open = (): void => {}
  const promise = new Promise<void>((resolve) => {
    open = resolve
  })

  return { opened: promise, open: () => open() }
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 10_000
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`waited too long for ${holds}`)
    await wait(5)
  }
}

async function untilDefined<T>(look: () => Promise<T | undefined>): Promise<T> {
  let found: T | undefined
  await until(async () => {
    found = await look()
    return found !== undefined
  })

  return found as T
}

async function outcome(promise: Promise<unknown>): Promise<string> {
  try {
    await promise
    return 'resolved'
  } catch (error) {
    return isMessagingError(error) ? error.code : String(error)
  }
}
