import { afterAll, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { createBus } from '../bus.js'
import { defineEvents } from '../catalogue.js'
import { NonRetryableError } from '../errors.js'
import { testBroker } from './fixture.js'

const broker = await testBroker()
const events = defineEvents({ 'number.drawn': z.object({ number: z.number() }) })

/** More than the window, so that some are written with what is confirmed and some without. */
const COUNT = 3_000

describe.skipIf(broker === undefined)('many messages in one turn', () => {
  afterAll(() => broker?.close())

  test('each arrives once, in order, with headers of its own', async () => {
    await using bus = createBus({ events, transport: broker!.transport(), source: 'test' })
    const received: { number: number; headers: unknown }[] = []
    const group = broker!.name('headers')
    const all = new Promise<void>((resolve) => {
      const handle = ({ data, headers }: { data: { number: number }; headers: unknown }): void => {
        received.push({ number: data.number, headers })
        if (received.length === COUNT) resolve()
      }
      bus.subscribe(group, 'number.drawn', handle, { concurrency: 1, prefetch: 200 })
    })
    await bus.start()

    const headersOf = (number: number) =>
      number % 3 === 0 ? {} : { [`h-${number % 50}`]: number, even: number % 2 === 0 }
    const numbers = Array.from({ length: COUNT }, (_, number) => number)
    await Promise.all(numbers.map((number) => bus.publish('number.drawn', { number }, { headers: headersOf(number) })))
    await all

    expect(received).toEqual(numbers.map((number) => ({ number, headers: headersOf(number) })))
  })

  test('what handlers finish out of order, late or not at all is settled, and nothing is lost', async () => {
    const group = broker!.name('settled')
    const transport = broker!.transport()
    const handled: number[] = []
    const failed: number[] = []
    const slow: (() => void)[] = []
    {
      await using bus = createBus({ events, transport, source: 'test' })
      const all = new Promise<void>((resolve) => {
        const tellIfAll = (): void => {
          if (handled.length + failed.length + slow.length === COUNT) resolve()
        }
        const handle = async ({ data: { number } }: { data: { number: number } }): Promise<void> => {
          if (number % 500 === 7) {
            // Held until the bus closes, while everything behind it is done.
            await new Promise<void>((go) => {
              slow.push(go)
              tellIfAll()
            })
            return
          }
          if (number % 100 === 3) {
            failed.push(number)
            tellIfAll()
            throw new NonRetryableError('not this one')
          }
          for (let hops = number % 7; hops > 0; hops -= 1) await undefined
          handled.push(number)
          tellIfAll()
        }
        bus.subscribe(group, 'number.drawn', handle, { concurrency: 64, prefetch: 128 })
      })
      await bus.start()
      await bus.publishMany(
        Array.from({ length: COUNT }, (_, number) => ({ type: 'number.drawn' as const, data: { number } })),
      )
      await all
      await bus.close({ timeout: 200 })
    }

    const connection = await transport.connect({ name: 'look' })
    const back: number[] = []
    for (let delivery = await connection.get(group); delivery !== undefined; delivery = await connection.get(group)) {
      back.push(JSON.parse(Buffer.from(delivery.message.body).toString()).number)
    }
    const letters = await connection.depth(`${group}.dlq`)
    await connection.close()

    expect(new Set(handled).size).toBe(handled.length)
    expect(letters).toBe(COUNT / 100)
    expect(back).toEqual(expect.arrayContaining([7, 507, 1_007, 1_507, 2_007, 2_507]))
    // A broker that forgot a few of the last acknowledgements gives out again what was handled, and nothing that failed.
    expect(back.length - slow.length).toBeLessThan(64)
    expect(back.filter((number) => failed.includes(number))).toEqual([])
  })
})
