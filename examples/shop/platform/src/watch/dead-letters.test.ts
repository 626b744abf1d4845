import { createBus, defineEvents, memory, NonRetryableError } from '@msx/messaging'
import { expect, it } from 'vitest'
import { z } from 'zod'
import { deadLetterBox } from './dead-letters.js'

it('shows the first of the dead letters and how many there are, and has those that are named handled again', async () => {
  const events = defineEvents({ 'thing.done': z.object({ n: z.number() }) })
  const transport = memory()
  await using bus = createBus({ events, transport, source: 'test' })
  const handled: number[] = []
  let broken = true
  bus.subscribe('group', 'thing.done', ({ data }) => {
    if (broken) throw new NonRetryableError('not today')
    handled.push(data.n)
  })
  for (const n of [1, 2, 3]) await bus.publish('thing.done', { n }, { id: `m-${n}` })
  await transport.drain()
  const box = deadLetterBox(bus, 'group')

  expect(await box.read(2)).toMatchObject({
    count: 3,
    items: [
      { id: 'm-1', type: 'thing.done', data: { n: 1 }, attempts: 1, reason: expect.stringContaining('not today') },
      { id: 'm-2' },
    ],
  })
  // Looked at by two at once, all of them are still there.
  expect((await Promise.all([box.read(9), box.read(9)])).map(({ count }) => count)).toEqual([3, 3])

  broken = false
  expect(await box.replay(['m-2'])).toBe(1)
  await transport.drain()
  expect(handled).toEqual([2])
  expect(await box.replay(undefined)).toBe(2)
  await transport.drain()
  expect(await box.read(9)).toEqual({ count: 0, items: [] })
})
