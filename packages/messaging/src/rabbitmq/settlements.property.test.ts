import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Settlements } from './settlements.js'

const pick = fc.nat(40)
const step = fc.oneof(
  { weight: 3, arbitrary: fc.record({ what: fc.constant('deliver' as const), pick }) },
  { weight: 3, arbitrary: fc.record({ what: fc.constant('ack' as const), pick }) },
  { weight: 1, arbitrary: fc.record({ what: fc.constant('nack' as const), pick }) },
  { weight: 1, arbitrary: fc.record({ what: fc.constant('flush' as const), pick }) },
)

/** A channel as RabbitMQ keeps it: an unknown number is an error, and settles all lower ones before it is one. */
class Broker {
  readonly unsettled = new Set<number>()
  readonly acked = new Set<number>()

  ack(tag: number, multiple: boolean): void {
    if (!this.unsettled.has(tag)) throw new Error(`unknown delivery tag ${tag}`)
    for (const each of [...this.unsettled]) {
      if (each !== tag && !(multiple && each < tag)) continue
      this.unsettled.delete(each)
      this.acked.add(each)
    }
  }
}

test('acknowledges exactly what is done, whatever the order, and never a number that the broker does not know', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 300, size: 'max' }), (steps) => {
      const settlements = new Settlements()
      const broker = new Broker()
      const held: number[] = []
      const done = new Set<number>()
      let next = 1
      const flush = (): void => {
        const { upTo, singles } = settlements.take()
        if (upTo !== undefined) broker.ack(upTo, true)
        for (const tag of singles) broker.ack(tag, false)
      }

      for (const { what, pick } of [...steps, { what: 'flush' as const, pick: 0 }]) {
        if (what === 'flush') {
          flush()
          expect([...broker.acked].sort((a, b) => a - b)).toEqual([...done].sort((a, b) => a - b))
          expect([...broker.unsettled]).toEqual(held.toSorted((a, b) => a - b))
        } else if (what === 'deliver') {
          broker.unsettled.add(next)
          held.push(next)
          settlements.deliver(next)
          next += 1
        } else {
          const [tag] = held.splice(pick % Math.max(1, held.length), 1)
          if (tag === undefined) continue
          if (what === 'ack') {
            done.add(tag)
            settlements.done(tag)
          } else {
            broker.unsettled.delete(tag)
            settlements.told(tag)
          }
        }
        expect(settlements.held).toBe(held.length)
      }
    }),
  )
})

test('is one word for what was done in a row, in whatever order', () => {
  const settlements = new Settlements()
  for (const tag of [1, 2, 3, 4, 5]) settlements.deliver(tag)

  for (const tag of [3, 1, 2]) settlements.done(tag)
  expect(settlements.take()).toEqual({ upTo: 3, singles: [] })

  settlements.done(5)
  expect(settlements.take()).toEqual({ upTo: undefined, singles: [5] })

  settlements.done(4)
  expect(settlements.take()).toEqual({ upTo: 4, singles: [] })
})

test('stops before a delivery that it was not told of', () => {
  const settlements = new Settlements()
  settlements.deliver(1)
  settlements.deliver(3)

  settlements.done(1)
  settlements.done(3)

  expect(settlements.take()).toEqual({ upTo: 1, singles: [3] })
})
