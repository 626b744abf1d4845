import { describe, expect, test } from 'vitest'
import { type Fixture, fixture } from './internal/fixture.js'
import { rest } from './internal/virtual-clock.js'

/** Three dead letters of group `g`, whose handler fails until it is mended. */
async function withDeadLetters(): Promise<Fixture & { handled: string[]; mend(): void }> {
  const parts = fixture()
  const handled: string[] = []
  let isBroken = true
  parts.bus.subscribe(
    'g',
    'order.created',
    (message) => {
      if (isBroken) throw new Error('no')
      handled.push(`${message.data.orderId} attempt ${message.attempt}`)
    },
    { retry: false },
  )
  for (const orderId of ['1', '2', '3']) await parts.bus.publish('order.created', { orderId })
  await parts.broker.drain()

  return {
    ...parts,
    handled,
    mend: () => {
      isBroken = false
    },
  }
}

describe('redriving', () => {
  test('handles the dead letters in order, as if for the first time', async () => {
    const { bus, broker, handled, mend } = await withDeadLetters()
    mend()

    const result = await bus.redrive('g')
    await broker.drain()

    expect(result).toEqual({ moved: 3, left: 0 })
    expect(handled).toEqual(['1 attempt 1', '2 attempt 1', '3 attempt 1'])
    expect(broker.deadLetters()).toEqual([])
  })

  test('ends even when every message fails again, and counts how often each was tried so', async () => {
    const { bus, broker } = await withDeadLetters()

    expect(await bus.redrive('g')).toEqual({ moved: 3, left: 0 })
    await broker.drain()
    expect(await bus.redrive('g')).toEqual({ moved: 3, left: 0 })
    await broker.drain()

    expect(broker.deadLetters().map(({ redriven, attempts }) => [redriven, attempts])).toEqual([
      [2, 1],
      [2, 1],
      [2, 1],
    ])
  })

  test('moves only what the filter wants, and leaves the others in order', async () => {
    const { bus, broker, handled, mend } = await withDeadLetters()
    mend()

    const filter = (letter: { data: unknown }) => (letter.data as { orderId: string }).orderId === '2'
    expect(await bus.redrive('g', { filter })).toEqual({ moved: 1, left: 2 })
    await broker.drain()

    expect(handled).toEqual(['2 attempt 1'])
    expect(broker.deadLetters().map(({ data }) => data)).toEqual([{ orderId: '1' }, { orderId: '3' }])
  })

  test('moves no more than the limit, and nothing in a dry run', async () => {
    const { bus, broker } = await withDeadLetters()

    expect(await bus.redrive('g', { dryRun: true })).toEqual({ moved: 3, left: 0 })
    expect(broker.deadLetters()).toHaveLength(3)
    expect(await bus.redrive('g', { limit: 0 })).toEqual({ moved: 0, left: 3 })
    expect(await bus.redrive('g', { limit: 2 })).toEqual({ moved: 2, left: 1 })
  })

  test('keeps to its rate', async () => {
    const { bus, clock, mend, handled } = await withDeadLetters()
    mend()

    const redriven = bus.redrive('g', { rate: 10 })
    await rest()
    expect(handled).toHaveLength(1)
    await clock.advance(99)
    expect(handled).toHaveLength(1)
    await clock.advance(1)
    expect(handled).toHaveLength(2)
    await clock.advance(100)

    expect(await redriven).toEqual({ moved: 3, left: 0 })
  })

  test('loses nothing when the filter throws', async () => {
    const { bus, broker } = await withDeadLetters()

    const filter = () => {
      throw new Error('a bad filter')
    }
    await expect(bus.redrive('g', { filter })).rejects.toThrow('a bad filter')

    expect(broker.deadLetters()).toHaveLength(3)
  })

  test('rejects a group that has no dead letters, and wrong options', async () => {
    const { bus } = await withDeadLetters()

    await expect(bus.redrive('gg')).rejects.toMatchObject({ code: 'MSX_QUEUE_NOT_FOUND' })
    await expect(bus.redrive('g', { rate: 0 })).rejects.toThrow(/rate must be .* got 0/)
    await expect(bus.redrive('g', { limit: -1 })).rejects.toThrow(/limit must be/)
    await expect(bus.redrive('g', { filter: 1 as never })).rejects.toThrow(/filter must be a function/)
  })
})
