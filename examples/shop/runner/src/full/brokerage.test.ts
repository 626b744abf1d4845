import { randomUUID } from 'node:crypto'
import { connect } from 'amqplib'
import { describe, expect, onTestFinished, test } from 'vitest'
import { missingServer } from '../../../../../tooling/missing-server.js'
import { readAddresses } from './addresses.js'
import { checkBrokerage, dropBrokerage } from './brokerage.js'
import { queuePrefixOf } from './names.js'

const { rabbitmq: url } = readAddresses(process.env)
const answers = await connect(url, { timeout: 3_000 }).then(
  (connection) => connection.close().then(() => true),
  (error: unknown) => missingServer('rabbitmq', url, error) ?? false,
)

describe.skipIf(!answers)('on a real RabbitMQ', () => {
  test('checkBrokerage lets pass whom the broker lets in', async () => {
    await expect(checkBrokerage(url)).resolves.toBeUndefined()
  })

  test('checkBrokerage names the variable that is wrong, and never the password', async () => {
    const wrong = new URL(url)
    wrong.password = 'not-this-one'

    await expect(checkBrokerage(wrong.href)).rejects.toThrow(/^RabbitMQ does not let AMQP_URL in: (?!.*not-this-one)/)
  })

  test('dropBrokerage rejects with what the broker refuses, and ends no process over it', async () => {
    const shop = `test-${randomUUID().slice(0, 8)}`
    const errors: unknown[] = []
    const hear = (error: unknown) => errors.push(error)
    process.on('uncaughtException', hear)
    onTestFinished(() => void process.off('uncaughtException', hear))
    const other = await connect(url)
    onTestFinished(() => other.close())
    const channel = await other.createChannel()
    await channel.assertQueue(`${queuePrefixOf(shop)}payment`, { exclusive: true })

    await expect(dropBrokerage(url, shop)).rejects.toThrow('RESOURCE_LOCKED')
    expect(errors).toEqual([])
  })
})
