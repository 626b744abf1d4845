import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import { isMessagingError } from './errors.js'
import { HEADER } from './internal/envelope.js'
import { partitionQueue, slotOf } from './partitions.js'
import type { Delivery, QueueSpec, Transport, TransportConnection, WireMessage } from './transport.js'

/** One case of a contract suite: give `name` and `run` to the test runner of your choice. */
export interface ContractCase {
  readonly name: string
  run(): Promise<void>
}

/** What a case works with. Its words are its own, so that cases can share a broker, also with other people. */
interface Bench {
  readonly transport: Transport
  /** A word no other case uses, to begin routing keys and queue names with. */
  readonly word: string
  connect(): Promise<TransportConnection>
}

/** How long a case waits for what should happen, in ms. */
const PATIENCE = 10_000

/** How long a case watches for what should not happen, in ms. */
const QUIET = 50

/**
 * The cases every transport has to pass. They need real time, pass in any order and may run side by side.
 *
 * @param make A transport for one case; cases close their connections.
 * @example
 * for (const { name, run } of transportContract(() => memory())) test(name, run)
 */
export function transportContract(make: () => Transport | Promise<Transport>): readonly ContractCase[] {
  return Object.entries(CASES).map(([name, body]) => ({ name, run: () => onBench(make, body) }))
}

async function onBench(
  make: () => Transport | Promise<Transport>,
  body: (bench: Bench) => Promise<void>,
): Promise<void> {
  const transport = await make()
  const connections: TransportConnection[] = []
  const bench: Bench = {
    transport,
    word: `contract-${randomUUID()}`,
    async connect() {
      const connection = await transport.connect({ name: 'contract' })
      connections.push(connection)
      return connection
    },
  }
  try {
    await body(bench)
  } finally {
    await Promise.all(connections.map((connection) => connection.close()))
  }
}

const CASES: Record<string, (bench: Bench) => Promise<void>> = {
  async 'carries every part of a message'({ word, connect }) {
    const connection = await connect()
    const inbox = await collect(connection, { name: word, patterns: [`${word}.#`] })

    const sent: WireMessage = {
      type: `${word}.a`,
      body: Buffer.from('{"text":"grün","n":1}'),
      headers: { text: 'x', number: 7, flag: true },
      id: 'm-1',
      contentType: 'application/json',
      timestamp: 1_700_000_000_000,
      correlationId: 'c-1',
      replyTo: 'somewhere',
      properties: { contentEncoding: 'identity', priority: 3, appId: 'another', type: 'Order' },
    }
    await connection.publish(sent, { mandatory: true })

    const [delivery] = await inbox.atLeast(1)
    const { body, headers, ...rest } = (delivery as Delivery).message
    assert.equal(Buffer.from(body).toString(), '{"text":"grün","n":1}')
    for (const [name, value] of Object.entries(sent.headers)) assert.equal(headers[name], value)
    for (const part of ['type', 'id', 'contentType', 'timestamp', 'correlationId', 'replyTo'] as const) {
      assert.equal(rest[part], sent[part], part)
    }
    assert.deepEqual(rest.properties, sent.properties)
    assert.equal((delivery as Delivery).redelivered, false)
  },

  async 'copies a message to every queue with a matching pattern, once per queue'({ word, connect }) {
    const connection = await connect()
    const exact = await collect(connection, { name: `${word}.exact`, patterns: [`${word}.order.created`] })
    const star = await collect(connection, { name: `${word}.star`, patterns: [`${word}.*.created`, `${word}.order.*`] })
    const hash = await collect(connection, { name: `${word}.hash`, patterns: [`${word}.#`] })

    for (const key of ['order.created', 'order.line.added', 'user.created']) {
      await connection.publish(message(`${word}.${key}`), { mandatory: true })
    }

    await hash.atLeast(3)
    await wait(QUIET)
    assert.deepEqual(exact.types(), [`${word}.order.created`])
    assert.deepEqual(star.types(), [`${word}.order.created`, `${word}.user.created`])
    assert.equal(hash.deliveries.length, 3)
  },

  async 'refuses a mandatory message that reaches no queue, and takes an optional one'({ word, connect }) {
    const connection = await connect()

    await rejectsWith('MSX_UNROUTABLE', connection.publish(message(`${word}.nobody`), { mandatory: true }))
    await connection.publish(message(`${word}.nobody`), { mandatory: false })
  },

  async 'delivers in the order of publishing'({ word, connect }) {
    const connection = await connect()
    const inbox = await collect(connection, { name: word, patterns: [`${word}.#`] }, 500)

    const keys = Array.from({ length: 200 }, (_, n) => `${word}.${n}`)
    await Promise.all(keys.map((key) => connection.publish(message(key), { mandatory: true })))

    await inbox.atLeast(200)
    assert.deepEqual(inbox.types(), keys)
  },

  async 'keeps messages for a queue that nobody consumes yet'({ word, connect }) {
    const connection = await connect()
    await connection.declare({ name: word, patterns: [`${word}.#`] })
    await connection.publish(message(`${word}.a`), { mandatory: true })
    await until(async () => (await connection.depth(word)) === 1)

    const inbox = await consume(connection, word)

    await inbox.atLeast(1)
  },

  async 'lets an auto-delete queue go with its last consumer'({ word, connect }) {
    const connection = await connect()
    await connection.declare({ name: word, patterns: [`${word}.#`], temporary: true, autoDelete: true })
    const deliveries: Delivery[] = []
    const consumer = await connection.consume(word, { prefetch: 1 }, (delivery) => deliveries.push(delivery))
    await connection.publish(message(`${word}.in-hand`), { mandatory: true })
    await connection.publish(message(`${word}.behind`), { mandatory: true })
    await until(async () => deliveries.length === 1)

    await consumer.cancel()

    await until(async () => (await outcome(connection.depth(word))) === 'MSX_QUEUE_NOT_FOUND')
    await rejectsWith('MSX_UNROUTABLE', connection.publish(message(`${word}.late`), { mandatory: true }))
    // Of no use, but nothing breaks.
    deliveries[0]?.ack()
    const other = await collect(connection, { name: `${word}.other`, patterns: [`${word}.#`] })
    await connection.publish(message(`${word}.after`), { mandatory: true })
    await other.atLeast(1)
    assert.deepEqual(other.types(), [`${word}.after`])
    assert.equal(deliveries.length, 1)
  },

  async 'shares a queue between its consumers, each message going to one'({ word, connect }) {
    const queue = { name: word, patterns: [`${word}.#`] }
    const first = await collect(await connect(), queue, 1)
    const second = await collect(await connect(), queue, 1)
    const connection = await connect()

    await connection.publish(message(`${word}.a`), { mandatory: true })
    await connection.publish(message(`${word}.b`), { mandatory: true })

    await first.atLeast(1)
    await second.atLeast(1)
    await wait(QUIET)
    assert.deepEqual([...first.types(), ...second.types()].sort(), [`${word}.a`, `${word}.b`])
  },

  async 'hands over no more than prefetch until something is settled'({ word, connect }) {
    const connection = await connect()
    const inbox = await collect(connection, { name: word, patterns: [`${word}.#`] }, 2)
    for (const key of ['a', 'b', 'c']) await connection.publish(message(`${word}.${key}`), { mandatory: true })

    await inbox.atLeast(2)
    await wait(QUIET)
    assert.equal(inbox.deliveries.length, 2)
    inbox.deliveries[0]?.ack()

    await inbox.atLeast(3)
  },

  async 'gives a released message out again, marked as redelivered'({ word, connect }) {
    const connection = await connect()
    const inbox = await collect(connection, { name: word, patterns: [`${word}.#`] }, 1)
    await connection.publish(message(`${word}.a`), { mandatory: true })

    const [first] = await inbox.atLeast(1)
    first?.release()

    const [, again] = await inbox.atLeast(2)
    assert.equal(again?.redelivered, true)
    again?.ack()
    await wait(QUIET)
    assert.equal(inbox.deliveries.length, 2)
  },

  async 'takes a queue that somebody else made as it is, binds it, and makes none'({ word, connect }) {
    const owner = await connect()
    await owner.declare({ name: word, patterns: [] })
    const connection = await connect()
    const taken = { name: word, patterns: [`${word}.#`], deadLetterQueue: `${word}.dlq`, existing: true }

    const inbox = await collect(connection, taken)
    await connection.publish(message(`${word}.a`), { mandatory: true })

    await inbox.atLeast(1)
    inbox.deliveries[0]?.ack()
    assert.equal(await connection.depth(`${word}.dlq`), 0)
    const missing = { name: `${word}.missing`, patterns: [], existing: true }
    await rejectsWith('MSX_QUEUE_NOT_FOUND', connection.declare(missing))
  },

  async 'puts a rejected message into the dead letters'({ word, connect }) {
    const connection = await connect()
    const deadLetterQueue = `${word}.dlq`
    const inbox = await collect(connection, { name: word, patterns: [`${word}.#`], deadLetterQueue })
    await connection.publish(message(`${word}.a`, 'm-1'), { mandatory: true })

    const [delivery] = await inbox.atLeast(1)
    delivery?.reject()

    const letter = await untilDefined(() => connection.get(deadLetterQueue))
    assert.deepEqual([letter.message.type, letter.message.id], [`${word}.a`, 'm-1'])
    letter.ack()
    assert.equal(inbox.deliveries.length, 1)
  },

  async 'puts an expired message into the dead letters'({ word, connect }) {
    const connection = await connect()
    const deadLetterQueue = `${word}.dlq`
    await connection.declare({ name: word, patterns: [`${word}.#`], deadLetterQueue })

    await connection.publish({ ...message(`${word}.a`), ttl: 1 }, { mandatory: true })

    const letter = await untilDefined(() => connection.get(deadLetterQueue))
    letter.ack()
    assert.equal(await connection.depth(word), 0)
  },

  async 'settles a delivery once'({ word, connect }) {
    const connection = await connect()
    const inbox = await collect(connection, { name: word, patterns: [`${word}.#`] }, 1)
    await connection.publish(message(`${word}.a`), { mandatory: true })
    const [delivery] = await inbox.atLeast(1)

    delivery?.ack()
    delivery?.release()
    delivery?.ack()
    delivery?.reject()

    await connection.publish(message(`${word}.b`), { mandatory: true })
    await inbox.atLeast(2)
    await wait(QUIET)
    assert.deepEqual(inbox.types(), [`${word}.a`, `${word}.b`])
  },

  async 'gives what a closed connection had not settled to another one, and ignores it there'({ word, connect }) {
    const closing = await connect()
    const queue = { name: word, patterns: [`${word}.#`] }
    const lost = await collect(closing, queue)
    const connection = await connect()
    await connection.publish(message(`${word}.a`), { mandatory: true })
    const [delivery] = await lost.atLeast(1)

    await closing.close()
    await closing.close()
    delivery?.ack()

    const inbox = await consume(connection, word)
    const [again] = await inbox.atLeast(1)
    assert.equal(again?.redelivered, true)
  },

  async 'delivers nothing after cancel, and lets what was delivered be settled'({ word, connect }) {
    const connection = await connect()
    const inbox = await collect(connection, { name: word, patterns: [`${word}.#`] })
    await connection.publish(message(`${word}.a`), { mandatory: true })
    const [delivery] = await inbox.atLeast(1)

    await inbox.consumer.cancel()
    await inbox.consumer.cancel()
    await connection.publish(message(`${word}.b`), { mandatory: true })
    delivery?.ack()
    await wait(QUIET)

    assert.equal(inbox.deliveries.length, 1)
    const rest = await untilDefined(() => connection.get(word))
    assert.deepEqual([rest.message.type, rest.redelivered], [`${word}.b`, false])
    rest.ack()
  },

  async 'keeps, in order, what was on its way when its consumer was cancelled'({ word, connect }) {
    const connection = await connect()
    const inbox = await collect(connection, { name: word, patterns: [`${word}.#`] })
    for (const key of ['a', 'b']) await connection.publish(message(`${word}.${key}`), { mandatory: true })

    await inbox.consumer.cancel()
    for (const delivery of inbox.deliveries) delivery.release()

    const next = await consume(connection, word)
    await next.atLeast(2)
    assert.deepEqual(next.types(), [`${word}.a`, `${word}.b`])
  },

  async 'sends to one queue only, keeping the type, at once or after a delay'({ word, connect }) {
    const connection = await connect()
    const inbox = await collect(connection, { name: `${word}.one`, patterns: [`${word}.#`] })
    const other = await collect(connection, { name: `${word}.other`, patterns: [`${word}.#`] })

    const startedAt = performance.now()
    await connection.send(`${word}.one`, message(`${word}.a`), { delay: 40 })
    await connection.send(`${word}.one`, message(`${word}.b`))

    await inbox.atLeast(2)
    assert.ok(performance.now() - startedAt >= 39, 'not before its delay')
    assert.deepEqual(inbox.types(), [`${word}.b`, `${word}.a`])
    assert.equal(other.deliveries.length, 0)
  },

  async 'routes a delayed message when its time has come'({ word, connect }) {
    const connection = await connect()
    const inbox = await collect(connection, { name: word, patterns: [`${word}.#`] })

    const startedAt = performance.now()
    await connection.publish(message(`${word}.a`), { mandatory: true, delay: 40 })

    await inbox.atLeast(1)
    assert.ok(performance.now() - startedAt >= 39, 'not before its delay')
  },

  async 'refuses to consume, send to, look into or count a queue that is not there'({ word, connect }) {
    const connection = await connect()

    await rejectsWith('MSX_QUEUE_NOT_FOUND', connection.depth(word))
    await rejectsWith('MSX_QUEUE_NOT_FOUND', connection.get(word))
    await rejectsWith('MSX_QUEUE_NOT_FOUND', connection.send(word, message('a')))
    await rejectsWith(
      'MSX_QUEUE_NOT_FOUND',
      connection.consume(word, { prefetch: 1 }, () => {}),
    )
  },

  async 'refuses a queue that is there with other options'({ word, connect }) {
    const connection = await connect()
    await connection.declare({ name: word, patterns: [] })

    await rejectsWith(
      'MSX_TOPOLOGY_MISMATCH',
      connection.declare({ name: word, patterns: [], deadLetterQueue: `${word}.dlq` }),
    )
  },

  async 'ends a temporary queue with its connection'({ word, connect }) {
    const closing = await connect()
    await closing.declare({ name: word, patterns: [], temporary: true })
    await closing.send(word, message('a'))
    await closing.close()

    const connection = await connect()
    await until(async () => (await outcome(connection.depth(word))) === 'MSX_QUEUE_NOT_FOUND')
  },

  async 'gives each key of a divided queue to one partition, in order, and the rest to the first'({ word, connect }) {
    const connection = await connect()
    const queue = { name: word, patterns: [`${word}.#`], partitions: 3 }
    const inboxes = await partitions(connection, queue)
    const keyed = Array.from({ length: 60 }, (_, n) => ({
      ...message(`${word}.a`, `k-${n % 6}:${String(n).padStart(2, '0')}`),
      headers: { [HEADER.slot]: slotOf(`k-${n % 6}`) },
    }))

    await Promise.all(keyed.map((one) => connection.publish(one, { mandatory: true })))
    await connection.publish(message(`${word}.a`, 'no key'), { mandatory: true })

    const ids = (): string[][] => inboxes.map(({ deliveries }) => deliveries.map(({ message }) => message.id as string))
    await until(async () => ids().flat().length === 61)
    assert.ok(ids()[0]?.includes('no key'))
    for (let key = 0; key < 6; key += 1) {
      const holders = ids()
        .map((all) => all.filter((id) => id.startsWith(`k-${key}:`)))
        .filter((own) => own.length > 0)
      assert.equal(holders.length, 1)
      assert.deepEqual(holders[0], holders[0]?.toSorted())
    }
  },

  async 'gives a partition to one consumer at a time, and what that had to the next one, in order'({ word, connect }) {
    const queue = { name: word, patterns: [`${word}.#`], partitions: 1 }
    const first = await collect(await connect(), queue, 5, { single: true })
    const second = await collect(await connect(), queue, 5, { single: true })
    const connection = await connect()
    for (let n = 0; n < 10; n += 1) await connection.publish(message(`${word}.${n}`), { mandatory: true })

    await first.atLeast(5)
    first.deliveries[0]?.ack()
    await first.atLeast(6)
    await wait(QUIET)
    assert.equal(second.deliveries.length, 0)
    await first.consumer.cancel()

    await second.atLeast(5)
    for (const delivery of second.deliveries) delivery.ack()
    await second.atLeast(9)
    assert.deepEqual(
      second.types(),
      Array.from({ length: 9 }, (_, n) => `${word}.${n + 1}`),
    )
    for (const delivery of second.deliveries) delivery.ack()
  },

  async 'gives what a closed connection had of a partition to the next consumer, in order'({ word, connect }) {
    const queue = { name: word, patterns: [`${word}.#`], partitions: 1 }
    const closing = await connect()
    const first = await collect(closing, queue, 5, { single: true })
    const second = await collect(await connect(), queue, 10, { single: true })
    const connection = await connect()
    for (let n = 0; n < 8; n += 1) await connection.publish(message(`${word}.${n}`), { mandatory: true })
    await first.atLeast(5)

    await closing.close()

    await second.atLeast(8)
    assert.deepEqual(
      second.types(),
      Array.from({ length: 8 }, (_, n) => `${word}.${n}`),
    )
  },

  async 'refuses another number of partitions than there are'({ word, connect }) {
    const connection = await connect()
    await connection.declare({ name: word, patterns: [], partitions: 2 })

    await rejectsWith('MSX_TOPOLOGY_MISMATCH', connection.declare({ name: word, patterns: [], partitions: 3 }))
  },

  async 'refuses everything once closed'({ word, connect }) {
    const connection = await connect()
    await connection.declare({ name: word, patterns: [] })
    await connection.close()

    assert.equal(connection.health(), 'down')
    await rejectsWith('MSX_CLOSED', connection.publish(message('a'), { mandatory: false }))
    await rejectsWith('MSX_CLOSED', connection.send(word, message('a')))
    await rejectsWith(
      'MSX_CLOSED',
      connection.consume(word, { prefetch: 1 }, () => {}),
    )
  },
}

function message(type: string, id: string = randomUUID()): WireMessage {
  return { type, body: Buffer.from('{}'), headers: {}, id }
}

interface Inbox {
  readonly deliveries: readonly Delivery[]
  readonly consumer: { cancel(): Promise<void> }
  types(): string[]
  atLeast(count: number): Promise<readonly Delivery[]>
}

async function collect(
  connection: TransportConnection,
  queue: QueueSpec,
  prefetch = 10,
  terms: { readonly single?: boolean } = {},
): Promise<Inbox> {
  await connection.declare(queue)

  return consume(
    connection,
    queue.partitions === undefined ? queue.name : partitionQueue(queue.name, 0),
    prefetch,
    terms,
  )
}

/** All partitions of a queue. */
async function partitions(connection: TransportConnection, queue: QueueSpec): Promise<readonly Inbox[]> {
  await connection.declare(queue)
  const names = Array.from({ length: queue.partitions as number }, (_, n) => partitionQueue(queue.name, n))

  return Promise.all(names.map((name) => consume(connection, name, 100, { single: true })))
}

async function consume(
  connection: TransportConnection,
  queue: string,
  prefetch = 10,
  terms: { readonly single?: boolean } = {},
): Promise<Inbox> {
  const deliveries: Delivery[] = []
  const consumer = await connection.consume(queue, { prefetch, ...terms }, (delivery) => deliveries.push(delivery))

  return {
    deliveries,
    consumer,
    types: () => deliveries.map((delivery) => delivery.message.type),
    async atLeast(count) {
      await until(
        async () => deliveries.length >= count,
        () => `${count} deliveries, there were ${deliveries.length}`,
      )
      return deliveries
    },
  }
}

async function until(holds: () => Promise<boolean>, what: () => string = () => 'it'): Promise<void> {
  const deadline = performance.now() + PATIENCE
  while (!(await holds())) {
    if (performance.now() > deadline) assert.fail(`waited ${PATIENCE} ms for ${what()}`)
    await wait(1)
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

async function rejectsWith(code: string, promise: Promise<unknown>): Promise<void> {
  assert.equal(await outcome(promise), code)
}

async function outcome(promise: Promise<unknown>): Promise<string> {
  try {
    await promise
    return 'resolved'
  } catch (error) {
    return isMessagingError(error) ? error.code : String(error)
  }
}
