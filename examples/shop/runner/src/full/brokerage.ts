import { type ChannelModel, connect } from 'amqplib'
import { StartError } from '../start-error.js'
import { exchangeOf, queuePrefixOf } from './names.js'

/** The groups of the services, after which their queues are called. */
const groups = ['inventory', 'payment', 'notification', 'analytics']

/** The waits between the retries of a message, in milliseconds: the levels of the transport. */
const waits = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1_200, 1_800, 3_600].map((seconds) => seconds * 1_000)

/** Rejects with what is wrong with AMQP_URL: seven services would each say it at length. */
export async function checkBrokerage(url: string): Promise<void> {
  const connection = await open(url).catch((error: Error) => {
    throw new StartError(`RabbitMQ does not let AMQP_URL in: ${error.message}`)
  })
  await connection.close()
}

/** Deletes the shop's queues, with what is in them, and its exchanges. A broker deletes what is not there, too. */
export async function dropBrokerage(url: string, shop: string): Promise<void> {
  const exchange = exchangeOf(shop)
  const own = groups.map((group) => queuePrefixOf(shop) + group)
  const shared = [
    ...waits.flatMap((wait) => [`${exchange}.retry.${wait}`, `${exchange}.delay.${wait}`]),
    `${exchange}.unclaimed`,
    `${exchange}.nowhere`,
  ]

  const connection = await open(url)
  try {
    const channel = await connection.createChannel()
    channel.on('error', ignore)
    for (const queue of [...own, ...own.map((queue) => `${queue}.dlq`), ...shared]) await channel.deleteQueue(queue)
    for (const name of [exchange, `${exchange}.retry`, `${exchange}.delay`, ...shared]) {
      await channel.deleteExchange(name)
    }
  } finally {
    await connection.close()
  }
}

/** What a connection or a channel says of its end, its next operation rejects with; unheard it would end the process. */
function ignore(): void {}

async function open(url: string): Promise<ChannelModel> {
  const connection = await connect(url)
  connection.on('error', ignore)
  return connection
}
