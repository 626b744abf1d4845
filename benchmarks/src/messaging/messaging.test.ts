import { afterAll, describe, expect, test } from 'vitest'
import { consume, publish } from './flow.js'
import { CONSUMERS, PUBLISHERS } from './index.js'
import { orders } from './payload.js'
import { openPlace } from './place.js'
import { WINDOW } from './publishers.js'

const place = await openPlace('quorum')
const made = orders(250, 8)

test.each([250, 2_000])('an order of about %d bytes has about as many', (size) => {
  for (const order of orders(size, 3)) expect(Math.abs(JSON.stringify(order).length - size)).toBeLessThan(60)
})

describe.skipIf(place === undefined)('with RabbitMQ', () => {
  afterAll(() => place?.close())

  describe.each(Object.entries(PUBLISHERS))('%s', (_name, open) => {
    test('publishes as many messages as it has confirms for', async () => {
      const publisher = await open(place!)
      // More than the window, and for batches some that are left over.
      const count = WINDOW + 100
      const flow = await publish(publisher, made, { count })
      await publisher.close()

      expect(flow.messages).toBe(count)
      await place!.reaches(count)
      await place!.empty()
    })
  })

  describe.each(Object.entries(CONSUMERS))('%s', (_name, open) => {
    test('acknowledges all that it hands over, and does so again', async () => {
      const consuming = await open(place!)
      for (const count of [300, 301]) {
        await place!.fill(made, count)
        const flow = await consume(consuming, count)

        expect(flow.messages).toBe(count)
        await place!.reaches(0)
      }
      await consuming.close()
      await place!.reaches(0)
    })
  })
})
