import { randomUUID } from 'node:crypto'
import { type ChannelModel, connect } from 'amqplib'
import { missingServer } from '../../../../tooling/missing-server.js'
import type { Transport } from '../transport.js'
import { onChannel } from './channels.js'
import type { RabbitmqOptions } from './options.js'
import { rabbitmq } from './rabbitmq.js'

/** The broker of the tests, with names of this run only, all deleted at the end. */
export interface TestBroker {
  readonly url: string
  readonly admin: ChannelModel
  readonly exchange: string
  /** A queue name nobody else has. */
  name(word: string): string
  /** A transport on this run's exchange. */
  transport(options?: Partial<RabbitmqOptions>): Transport
  /** Remembers a queue that is to be deleted. */
  adopt(queue: string): void
  close(): Promise<void>
}

const URL_OF_TESTS = process.env['AMQP_URL'] ?? 'amqp://guest:guest@127.0.0.1:5672'

/** Undefined when no server answers, unless MSX_REQUIRE_SERVICES says that it must. */
export async function testBroker(): Promise<TestBroker | undefined> {
  let admin: ChannelModel
  try {
    admin = await connect(URL_OF_TESTS, { timeout: 3_000, noDelay: true })
  } catch (error) {
    return missingServer('rabbitmq', URL_OF_TESTS, error)
  }

  admin.on('error', () => {})
  const run = `msx-test-${randomUUID().slice(0, 8)}`
  const queues = new Set<string>()
  const divided = new Set<string>()

  return {
    url: URL_OF_TESTS,
    admin,
    exchange: run,
    name: (word) => {
      const name = `${run}.${word}`
      queues.add(name).add(`${name}.dlq`)
      return name
    },
    transport(options = {}) {
      const inner = rabbitmq({ url: URL_OF_TESTS, exchange: run, reconnect: () => 20, ...options })
      return { ...inner, connect: async (terms) => remembering(await inner.connect(terms), queues, divided) }
    },
    adopt: (queue) => {
      queues.add(queue)
    },
    async close() {
      const waits = [1_000, 2_000, 5_000].flatMap((ms) => [`${run}.retry.${ms}`, `${run}.delay.${ms}`])
      const shared = [...waits, `${run}.unclaimed`, `${run}.nowhere`]
      await onChannel(admin, async (channel) => {
        await Promise.all([...queues, ...shared].map((queue) => channel.deleteQueue(queue)))
        const exchanges = [run, `${run}.retry`, `${run}.delay`, ...shared, ...divided]
        await Promise.all(exchanges.map((exchange) => channel.deleteExchange(exchange)))
      })
      await admin.close()
    },
  }
}

type Connection = Awaited<ReturnType<Transport['connect']>>

function remembering(connection: Connection, queues: Set<string>, divided: Set<string>): Connection {
  const declare = connection.declare.bind(connection)
  connection.declare = (spec) => {
    const { name, partitions } = spec
    if (partitions !== undefined) divided.add(`${name}.by-key`).add(`${name}.rest.${partitions}`)
    for (let n = 0; n < (partitions ?? 0); n += 1) queues.add(`${name}.${n}`)
    if (spec.temporary !== true) queues.add(spec.name)
    if (spec.deadLetterQueue !== undefined) queues.add(spec.deadLetterQueue)
    return declare(spec)
  }

  return connection
}
