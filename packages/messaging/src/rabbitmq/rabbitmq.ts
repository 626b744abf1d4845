import type { ChannelModel } from 'amqplib'
import { timekeeper } from '../clock.js'
import { isMessagingError } from '../errors.js'
import type { Transport } from '../transport.js'
import { Addresses, labelOf } from './address.js'
import { loadAmqplib } from './amqplib.js'
import { RabbitmqConnection } from './connection.js'
import { connectionLost, explain } from './failure.js'
import { LONGEST_WAIT } from './levels.js'
import { completeOptions, type RabbitmqOptions, type Settings } from './options.js'

/** How long connecting may take, in ms. */
const CONNECT_TIMEOUT = 10_000

/**
 * RabbitMQ, from 3.10 on, over amqplib 2. Messages are durable and confirmed; a lost connection is made again, with its
 * queues and consumers, and what was published without having been confirmed is published again with the same id.
 *
 * @throws TypeError for a wrong option.
 * @example
 * const transport = rabbitmq({ url: 'amqp://guest:guest@127.0.0.1:5672' })
 * const bus = createBus({ events, transport, source: 'order-service' })
 */
export function rabbitmq(options: RabbitmqOptions): Transport {
  const settings = completeOptions(options)

  return {
    system: 'rabbitmq',
    exchange: settings.exchange,
    longestDelay: LONGEST_WAIT,

    async connect({ name, notify }) {
      const addresses = new Addresses(settings)
      let isStarted = false
      const connection = new RabbitmqConnection({
        settings,
        time: timekeeper(undefined),
        notify: (notice) => {
          if (isStarted) notify?.(notice)
        },
        open: (purpose) => openModel(addresses, settings, `${name} ${purpose}`),
      })
      await connection.start(addresses.count)
      isStarted = true
      return connection
    },
  }
}

async function openModel(addresses: Addresses, { socket }: Settings, name: string): Promise<ChannelModel> {
  const { connect } = await loadAmqplib()
  const url = await addresses.next()
  try {
    return await connect(url, {
      timeout: CONNECT_TIMEOUT,
      noDelay: true,
      keepAlive: true,
      ...socket,
      clientProperties: { connection_name: name },
    })
  } catch (error) {
    const doing = `connect to RabbitMQ at ${labelOf(url)}`
    const explained = explain(error, doing)
    throw isMessagingError(explained) ? explained : connectionLost(doing, error)
  }
}
