import { setTimeout as wait } from 'node:timers/promises'
import { afterAll, afterEach, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { type Bus, createBus } from '../bus.js'
import { defineEvents, type SchemasOf } from '../catalogue.js'
import type { DeadLetter } from '../dead-letter.js'
import { NonRetryableError } from '../errors.js'
import type { Transport, TransportConnection } from '../transport.js'
import { onChannel } from './channels.js'
import { type TestBroker, testBroker } from './fixture.js'
import type { RabbitmqOptions } from './options.js'
import { rabbitmq } from './rabbitmq.js'

const available = await testBroker()
const broker = available as TestBroker
const opened: { close(): Promise<unknown> }[] = []

const events = defineEvents({
  'thing.done': z.object({ n: z.number() }),
  'thing.maybe': { schema: z.object({ n: z.number() }), optional: true },
})

afterEach(async () => {
  await Promise.all(opened.splice(0).map((thing) => thing.close()))
})
afterAll(() => available?.close())

describe('options', () => {
  test.each<[Partial<RabbitmqOptions> & Record<string, unknown>, RegExp]>([
    [{ url: 'http://127.0.0.1' }, /url must be an amqp: or amqps: URL, got 'http/],
    [{ url: 'amq://guest:secret@x' }, /got 'amq:\/\/…@x'/],
    [{ url: [] }, /url must be/],
    [{ url: 7 as never }, /url must be .* got 7/],
    [{ exchange: '' }, /exchange must be/],
    [{ exchange: 'x'.repeat(231) }, /exchange must be a name of at most 230 bytes/],
    [{ topology: 'maybe' as never }, /topology must be one of declare, verify, none, got 'maybe'/],
    [{ queueType: 'stream' as never }, /queueType must be one of quorum, classic/],
    [{ maxInFlight: 0 }, /maxInFlight must be an integer from 1, got 0/],
    [{ maxInFlightBytes: 1.5 }, /maxInFlightBytes/],
    [{ onFull: 'drop' as never }, /onFull must be one of wait, reject/],
    [{ confirmTimeout: -1 }, /confirmTimeout must be a number of milliseconds/],
    [{ confirmTimeout: 2 ** 31 }, /confirmTimeout/],
    [{ reconnect: 100 as never }, /reconnect must be a function, got 100/],
    [{ replay: true as never }, /replay must be { attempts, maxAge } or false, got true/],
    [{ replay: { attempts: 0, maxAge: 1 } }, /replay\.attempts must be an integer from 1, or Infinity, got 0/],
    [{ replay: { attempts: 1 } as never }, /replay\.maxAge must be .* got undefined/],
    [{ replay: { attempts: 1, maxAge: 0 } }, /replay\.maxAge must be .* above 0/],
    [{ heartbeat: Number.NaN }, /heartbeat must be .* got NaN/],
    [{ socket: 'x' as never }, /socket must be an object/],
    [{ socket: { timeout: Number.POSITIVE_INFINITY } }, /socket.timeout/],
  ])('that are wrong are refused: %o', (options, problem) => {
    const wrong = { url: 'amqp://127.0.0.1', ...options }

    expect(() => rabbitmq(wrong)).toThrow(TypeError)
    expect(() => rabbitmq(wrong)).toThrow(problem)
  })

  test('do not connect yet', () => {
    expect(rabbitmq({ url: 'amqp://127.0.0.1:1' }).longestDelay).toBe(3_600_000)
  })

  test('a retry that no wait queue could keep is refused by subscribe', () => {
    const bus = createBus({ events, transport: rabbitmq({ url: 'amqp://127.0.0.1:1' }), source: 'tests' })

    expect(() => bus.subscribe('g', 'thing.done', () => {}, { retry: { delays: [1_000, 3_600_001] } })).toThrow(
      expect.objectContaining({ code: 'MSX_DELAY_UNSUPPORTED' }),
    )
  })
})

describe.skipIf(available === undefined)('a bus over rabbitmq', { timeout: 20_000 }, () => {
  test('tries again after a delay, keeps what nobody could handle with its story, and redrives it', async () => {
    const group = broker.name('story')
    const bus = busOn(broker.transport())
    const attempts: number[] = []
    let isMended = false
    bus.subscribe(
      group,
      'thing.done',
      async ({ attempt }) => {
        attempts.push(attempt)
        if (!isMended) throw new Error('out of stock')
      },
      { retry: { immediate: 1, delays: [10] } },
    )
    await bus.start()

    const startedAt = performance.now()
    await bus.publish('thing.done', { n: 1 }, { id: 'm-1', headers: { tenant: 'acme', 'x-trace': 'kept' } })
    const letter = await deadLetterOf(bus, group)

    expect(attempts).toEqual([1, 2, 3])
    // Rounded up to the shortest wait there is.
    expect(performance.now() - startedAt).toBeGreaterThan(990)
    expect(letter).toMatchObject({
      group,
      id: 'm-1',
      type: 'thing.done',
      data: { n: 1 },
      headers: { tenant: 'acme', 'x-trace': 'kept' },
      attempts: 3,
      code: 'MSX_HANDLER_FAILED',
      reason: 'Error: out of stock',
      source: 'tests',
      redriven: 0,
    })

    isMended = true
    const handled = nextHandled(bus)
    expect(await bus.redrive(group)).toEqual({ moved: 1, left: 0 })
    await handled
    expect(attempts).toEqual([1, 2, 3, 1])
    expect(await bus.redrive(group)).toEqual({ moved: 0, left: 0 })
  })

  test('writes on the dead letters of the broker why they are there', async () => {
    const group = broker.name('expired')
    const bus = busOn(broker.transport())
    const subscription = bus.subscribe(group, 'thing.done', () => {})
    await bus.start()
    await subscription.pause()

    await bus.publish('thing.done', { n: 1 }, { id: 'm-1', ttl: 1 })

    expect(await deadLetterOf(bus, group)).toMatchObject({ group, id: 'm-1', type: 'thing.done', code: 'MSX_EXPIRED' })
  })

  test('looks at dead letters more often than a broker would give them out, and keeps them', async () => {
    const group = broker.name('looked-at')
    const bus = busOn(broker.transport())
    bus.subscribe(group, 'thing.done', () => {
      throw new NonRetryableError('no')
    })
    await bus.publish('thing.done', { n: 1 })
    await deadLetterOf(bus, group)

    for (let look = 0; look < 30; look += 1) await bus.redrive(group, { dryRun: true })

    expect(await bus.redrive(group, { dryRun: true })).toEqual({ moved: 1, left: 0 })
  })

  test('understands a plain JSON message of any publisher, by its routing key', async () => {
    const bus = busOn(broker.transport())
    const got: unknown[] = []
    bus.subscribe(broker.name('foreign'), 'thing.*', ({ type, id, data, time }) => {
      got.push({ type, id, data, time: time.getTime() })
    })
    await bus.start()

    await onChannel(broker.admin, async (channel) => {
      const properties = { messageId: 'f-1', timestamp: 1_700_000_000, type: 'SomethingElse' }
      channel.publish(broker.exchange, 'thing.done', Buffer.from('{"n":4}'), properties)
    })

    await until(async () => got.length === 1)
    expect(got).toEqual([{ type: 'thing.done', id: 'f-1', data: { n: 4 }, time: 1_700_000_000_000 }])
  })

  test('delays what is published, also when nobody listens by then', async () => {
    const bus = busOn(broker.transport())
    const got: string[] = []
    bus.subscribe(broker.name('delayed'), 'thing.done', ({ id }) => {
      got.push(id)
    })
    await bus.start()

    for (let n = 0; n < 40; n += 1) await bus.publish('thing.maybe', { n }, { delay: 5 })
    await bus.publish('thing.done', { n: 1 }, { id: 'late', delay: 5 })
    await bus.publish('thing.done', { n: 2 }, { id: 'soon' })

    await until(async () => got.length === 2)
    expect(got).toEqual(['soon', 'late'])
    await expect(bus.publish('thing.done', { n: 1 }, { delay: 3_600_001 })).rejects.toMatchObject({
      code: 'MSX_DELAY_UNSUPPORTED',
    })
    await expect(bus.publish('thing.done', { n: 1 }, { delay: 5, ttl: 100 })).rejects.toMatchObject({
      code: 'MSX_DELAY_UNSUPPORTED',
      message: expect.stringContaining('ttl'),
    })
  })

  test('refuses an event that nobody listens to, unless it is optional', async () => {
    const bus = busOn(broker.transport({ exchange: `${broker.exchange}.lonely` }))

    await expect(bus.publish('thing.done', { n: 1 })).rejects.toMatchObject({ code: 'MSX_UNROUTABLE' })
    await bus.publish('thing.maybe', { n: 1 })
    await onChannel(broker.admin, (channel) => channel.deleteExchange(`${broker.exchange}.lonely`))
  })

  test('works with classic queues too', async () => {
    const group = broker.name('classic')
    const bus = busOn(broker.transport({ queueType: 'classic' }))
    bus.subscribe(
      group,
      'thing.done',
      () => {
        throw new Error('never')
      },
      { retry: { immediate: 0, delays: [1] } },
    )
    await bus.publish('thing.done', { n: 1 })

    expect(await deadLetterOf(bus, group)).toMatchObject({ attempts: 2, code: 'MSX_HANDLER_FAILED' })
  })

  test('finds fault with queues that are not there, or leaves them to somebody else', async () => {
    const name = broker.name('theirs')
    const spec = { name, patterns: ['thing.done'], deadLetterQueue: `${name}.dlq` }
    const owner = await connectionOn(broker.transport())
    const verifying = await connectionOn(broker.transport({ topology: 'verify' }))
    const trusting = await connectionOn(broker.transport({ topology: 'none' }))

    await expect(verifying.declare(spec)).rejects.toMatchObject({
      code: 'MSX_QUEUE_NOT_FOUND',
      details: { queue: name },
    })
    await trusting.declare(spec)
    await expect(owner.depth(name)).rejects.toMatchObject({ code: 'MSX_QUEUE_NOT_FOUND' })

    await owner.declare(spec)
    await verifying.declare(spec)
    const { rejected } = await connectOutcome(broker.transport({ topology: 'verify', exchange: 'msx.not.there' }))
    expect(rejected).toMatchObject({ code: 'MSX_EXCHANGE_NOT_FOUND', details: { exchange: 'msx.not.there' } })
  })
})

function busOn(transport: Transport): Bus<SchemasOf<typeof events>> {
  const bus = createBus({ events, transport, source: 'tests' })
  opened.push(bus)

  return bus
}

async function connectionOn(transport: Transport): Promise<TransportConnection> {
  const connection = await transport.connect({ name: 'tests' })
  opened.push(connection)

  return connection
}

async function connectOutcome(transport: Transport): Promise<{ rejected?: unknown }> {
  try {
    await connectionOn(transport)
    return {}
  } catch (rejected) {
    return { rejected }
  }
}

/** The first dead letter of a group, which stays where it is. */
async function deadLetterOf(bus: Bus<SchemasOf<typeof events>>, group: string): Promise<DeadLetter> {
  let found: DeadLetter | undefined
  await until(async () => {
    await bus.redrive(group, {
      dryRun: true,
      filter: (letter) => {
        found = letter
        return true
      },
    })
    return found !== undefined
  })

  return found as DeadLetter
}

function nextHandled(bus: Bus<SchemasOf<typeof events>>): Promise<void> {
  return new Promise((resolve) => {
    const stop = bus.on('handled', () => {
      stop()
      resolve()
    })
  })
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 10_000
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`waited too long for ${holds}`)
    await wait(5)
  }
}
