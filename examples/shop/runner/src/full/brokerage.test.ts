import { connect } from 'amqplib'
import { describe, expect, test } from 'vitest'
import { missingServer } from '../../../../../tooling/missing-server.js'
import { readAddresses } from './addresses.js'
import { checkBrokerage } from './brokerage.js'

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
})
