import { createBus, memory } from '@msx/messaging'
import { shopEvents } from '@shop/contracts'
import { expect, test } from 'vitest'
import { prefixed } from './prefixed.js'

const event = { userId: 'ada', timestamp: '2026-01-01T00:00:00.000Z' }

test('keeps the queues of two shops on one broker apart, dead letters too', async () => {
  const broker = memory()
  const heard: string[] = []
  const shops = ['one.', 'two.'].map((shop) => {
    const bus = createBus({ events: shopEvents, transport: prefixed(broker, shop), source: 'test' })
    bus.subscribe(
      'group',
      'user.registered',
      () => {
        heard.push(shop)
        if (shop === 'two.') throw new Error('refused')
      },
      { retry: false },
    )
    return bus
  })
  for (const bus of shops) await bus.start()

  await shops[0]?.publish('user.registered', event)
  await broker.drain()

  expect(heard.sort()).toEqual(['one.', 'two.'])
  const left = await Promise.all(shops.map((bus) => bus.redrive('group', { dryRun: true })))
  expect(left).toMatchObject([{ moved: 0 }, { moved: 1 }])
  for (const bus of shops) await bus.close()
})
