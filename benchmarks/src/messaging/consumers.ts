import { createBus, defineEvents, type ValidateMode } from '@msx/messaging'
import { rabbitmq } from '@msx/messaging/rabbitmq'
import { connect as connectManaged } from 'amqp-connection-manager'
import { connect } from 'amqplib'
import { Connection } from 'rabbitmq-client'
import { type Order, order, SOURCE, TYPE } from './payload.js'
import type { Place } from './place.js'
import { openRascal } from './publishers.js'

/** How many messages each of them may have without having acknowledged them. */
export const PREFETCH = 200

/** Something connected that can consume the queue, any number of times. */
export interface Consuming {
  /** Calls `handle` with the parsed body of each message and acknowledges it. Resolves with what ends it. */
  consume(handle: (order: Order) => void): Promise<() => Promise<void>>
  close(): Promise<void>
}

export type OpenConsuming = (place: Place) => Promise<Consuming>

/** Amqplib alone, as its guide shows it. */
export function amqplibAlone(): OpenConsuming {
  return async ({ url, queue }) => {
    const model = await connect(url, { noDelay: true })

    return {
      consume: async (handle) => {
        const channel = await model.createChannel()
        await channel.prefetch(PREFETCH)
        await channel.consume(queue, (message) => {
          if (message === null) return
          handle(JSON.parse(message.content.toString()))
          channel.ack(message)
        })
        return () => channel.close()
      },
      close: () => model.close(),
    }
  }
}

export function msx(validate: ValidateMode): OpenConsuming {
  return async ({ url, exchange, queue }) => {
    const transport = rabbitmq({ url, exchange, topology: 'none' })
    const bus = createBus({ events: defineEvents({ [TYPE]: order }), transport, source: SOURCE, validate })
    await bus.start()

    return {
      consume: async (handle) => {
        const options = { prefetch: PREFETCH, deadLetter: false }
        const subscription = bus.subscribe(queue, TYPE, ({ data }) => handle(data), options)
        await bus.start()
        return () => subscription.close()
      },
      close: () => bus.close(),
    }
  }
}

export function rabbitmqClient(): OpenConsuming {
  return async ({ url, queue }) => {
    const connection = new Connection({ url, noDelay: true })
    connection.on('error', () => {})
    await connection.onConnect()

    return {
      consume: async (handle) => {
        const terms = { queue, queueOptions: { passive: true }, qos: { prefetchCount: PREFETCH } }
        const consumer = connection.createConsumer(terms, async ({ body }) => handle(body))
        consumer.on('error', () => {})
        return () => consumer.close()
      },
      close: () => connection.close(),
    }
  }
}

export function connectionManager(): OpenConsuming {
  return async ({ url, queue }) => {
    const connection = connectManaged([url], { connectionOptions: { noDelay: true } })

    return {
      consume: async (handle) => {
        const channel = connection.createChannel({})
        const onMessage = (message: Parameters<Parameters<typeof channel.consume>[1]>[0]): void => {
          handle(JSON.parse(message.content.toString()))
          channel.ack(message)
        }
        await channel.consume(queue, onMessage, { prefetch: PREFETCH })
        return () => channel.close()
      },
      close: () => connection.close(),
    }
  }
}

export function rascalBroker(): OpenConsuming {
  return async (place) => {
    const broker = await openRascal(place, {
      subscriptions: { orders: { vhost: '/', queue: place.queue, prefetch: PREFETCH } },
    })

    return {
      consume: async (handle) => {
        const session = await broker.subscribe('orders')
        session.on('error', () => {})
        session.on('message', (_message, content, ackOrNack) => {
          handle(content as Order)
          ackOrNack()
        })
        return () => session.cancel()
      },
      close: () => broker.shutdown(),
    }
  }
}
