import { randomUUID } from 'node:crypto'
import { type ChannelModel, type ConfirmChannel, connect } from 'amqplib'
import { missingServer } from '../../../tooling/missing-server.js'
import { envelope, type Order, TYPE } from './payload.js'

export const URL_OF_BROKER = process.env['AMQP_URL'] ?? 'amqp://guest:guest@127.0.0.1:5672'

/** A topic exchange and one queue bound to it, of this run only. */
export interface Place {
  readonly url: string
  readonly exchange: string
  readonly queue: string
  /** As the broker says. */
  readonly version: string
  /** How many messages are ready in the queue. */
  depth(): Promise<number>
  /** Resolves once that many are ready, or rejects after some seconds with how many there are. */
  reaches(depth: number): Promise<void>
  empty(): Promise<void>
  /** Publishes so many, in the envelope of @msx/messaging. */
  fill(orders: readonly Order[], count: number): Promise<void>
  close(): Promise<void>
}

const PATIENCE = 5_000

/** Undefined when no server answers, unless MSX_REQUIRE_SERVICES says that it must. */
export async function openPlace(queueType: 'quorum' | 'classic'): Promise<Place | undefined> {
  let model: ChannelModel
  try {
    model = await connect(URL_OF_BROKER, { timeout: 3_000, noDelay: true })
  } catch (error) {
    return missingServer('rabbitmq', URL_OF_BROKER, error)
  }

  const exchange = `msx-bench-${randomUUID().slice(0, 8)}`
  const queue = `${exchange}.orders`
  const channel = await model.createConfirmChannel()
  await channel.assertExchange(exchange, 'topic', { durable: true })
  await channel.assertQueue(queue, { durable: true, arguments: { 'x-queue-type': queueType } })
  await channel.bindQueue(queue, exchange, TYPE)
  const depth = async (): Promise<number> => (await channel.checkQueue(queue)).messageCount

  return {
    url: URL_OF_BROKER,
    exchange,
    queue,
    version: String((model.connection as { serverProperties?: { version?: unknown } }).serverProperties?.version),
    depth,
    reaches: async (wanted) => {
      const deadline = performance.now() + PATIENCE
      for (let there = await depth(); there !== wanted; there = await depth()) {
        if (performance.now() > deadline) throw new Error(`queue '${queue}' has ${there} messages, not ${wanted}`)
        await new Promise((resolve) => setTimeout(resolve, 20))
      }
    },
    empty: async () => {
      await channel.purgeQueue(queue)
    },
    fill: (orders, count) => fill(channel, exchange, orders, count),
    close: async () => {
      await channel.deleteQueue(queue)
      await channel.deleteExchange(exchange)
      await model.close()
    },
  }
}

async function fill(channel: ConfirmChannel, exchange: string, orders: readonly Order[], count: number): Promise<void> {
  const bodies = orders.map((order) => Buffer.from(JSON.stringify(order)))
  for (let sent = 0; sent < count; sent += 1) {
    const body = bodies[sent % bodies.length] as Buffer
    channel.publish(exchange, TYPE, body, { ...envelope(), persistent: true })
    if (sent % 1_024 === 1_023) await channel.waitForConfirms()
  }
  await channel.waitForConfirms()
}
