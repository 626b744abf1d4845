import { createBus, defineEvents, type ValidateMode } from '@msx/messaging'
import { rabbitmq } from '@msx/messaging/rabbitmq'
import { connect as connectManaged } from 'amqp-connection-manager'
import { connect } from 'amqplib'
import { Connection } from 'rabbitmq-client'
import rascal from 'rascal'
import { envelope, type Order, order, SOURCE, TYPE } from './payload.js'
import type { Place } from './place.js'

/** How many messages each of them may have without a confirm. */
export const WINDOW = 1_024

/** Something that publishes. */
export interface Publisher {
  /** Calls back when the broker has confirmed it. */
  send(order: Order, done: (error?: unknown) => void): void
  close(): Promise<void>
}

export type OpenPublisher = (place: Place) => Promise<Publisher>

/**
 * Amqplib alone, as its guide shows it: a confirm channel with a callback per message. `same`: the message that
 * @msx/messaging sends; `bare`: nothing but its body, persistent.
 */
export function amqplibAlone(message: 'same' | 'bare'): OpenPublisher {
  return async ({ url, exchange }) => {
    const model = await connect(url, { noDelay: true })
    const channel = await model.createConfirmChannel()
    const properties =
      message === 'bare'
        ? () => ({ persistent: true })
        : () => ({ ...envelope(), persistent: true, mandatory: true as const })

    return {
      send: (data, done) => {
        channel.publish(exchange, TYPE, Buffer.from(JSON.stringify(data)), properties(), done)
      },
      close: () => model.close(),
    }
  }
}

export function msx(validate: ValidateMode): OpenPublisher {
  return async (place) => {
    const bus = await openBus(place, validate)

    return {
      send: (data, done) => {
        bus.publish(TYPE, data).then(() => done(), done)
      },
      close: () => bus.close(),
    }
  }
}

/** Batches of 256, of which four make up the window. */
const BATCH = 256

/** Collects what it is asked to send until there is a batch of it. */
export function msxMany(validate: ValidateMode): OpenPublisher {
  return async (place) => {
    const bus = await openBus(place, validate)
    let batch: { readonly type: typeof TYPE; readonly data: Order }[] = []
    let dones: ((error?: unknown) => void)[] = []

    const flush = (): void => {
      const waiting = dones
      const settle = (error?: unknown): void => {
        for (const done of waiting) done(error)
      }
      bus.publishMany(batch).then(() => settle(), settle)
      batch = []
      dones = []
    }

    return {
      send: (data, done) => {
        batch.push({ type: TYPE, data })
        dones.push(done)
        if (batch.length === BATCH) flush()
        // What is left over when nobody sends any more.
        else if (batch.length === 1) setImmediate(() => batch.length > 0 && flush())
      },
      close: () => bus.close(),
    }
  }
}

async function openBus({ url, exchange }: Place, validate: ValidateMode) {
  const transport = rabbitmq({ url, exchange, topology: 'none', maxInFlight: WINDOW })
  const bus = createBus({ events: defineEvents({ [TYPE]: order }), transport, source: SOURCE, validate })
  await bus.start()

  return bus
}

export function rabbitmqClient(message: 'same' | 'bare'): OpenPublisher {
  return async ({ url, exchange }) => {
    const connection = new Connection({ url, noDelay: true })
    connection.on('error', () => {})
    const publisher = connection.createPublisher({ confirm: true, maxAttempts: 2 })
    const to =
      message === 'bare'
        ? () => ({ exchange, routingKey: TYPE, durable: true })
        : () => ({ ...envelope(), exchange, routingKey: TYPE, durable: true, mandatory: true })
    await connection.onConnect()

    return {
      send: (data, done) => {
        publisher.send(to(), data).then(() => done(), done)
      },
      close: async () => {
        await publisher.close()
        await connection.close()
      },
    }
  }
}

export function connectionManager(message: 'same' | 'bare'): OpenPublisher {
  return async ({ url, exchange }) => {
    const connection = connectManaged([url], { connectionOptions: { noDelay: true } })
    const channel = connection.createChannel({ json: true })
    const properties =
      message === 'bare' ? () => ({ persistent: true }) : () => ({ ...envelope(), persistent: true, mandatory: true })
    await channel.waitForConnect()

    return {
      send: (data, done) => {
        channel.publish(exchange, TYPE, data, properties()).then(() => done(), done)
      },
      close: async () => {
        await channel.close()
        await connection.close()
      },
    }
  }
}

/** With its default configuration: five confirm channels, each with one message at a time. */
export function rascalBroker(): OpenPublisher {
  return async (place) => {
    const broker = await openRascal(place, {
      publications: { orders: { vhost: '/', exchange: place.exchange, routingKey: TYPE } },
    })

    return {
      send: (data, done) => {
        broker.publish('orders', data, { options: envelope() }).then((publication) => {
          publication.on('success', () => done()).on('error', done)
        }, done)
      },
      close: () => broker.shutdown(),
    }
  }
}

export async function openRascal({ url, exchange, queue }: Place, parts: object) {
  const there = { assert: false, check: true }
  const vhost = {
    connection: { url, socketOptions: { noDelay: true } },
    exchanges: { [exchange]: there },
    queues: { [queue]: there },
  }
  const broker = await rascal.BrokerAsPromised.create(rascal.withDefaultConfig({ vhosts: { '/': vhost }, ...parts }))
  broker.on('error', () => {})

  return broker
}
