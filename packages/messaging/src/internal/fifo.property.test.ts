import { setImmediate } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Fifo } from './fifo.js'

/** Shifts are as frequent as pushes in runs long enough to make it copy. */
const action = fc.oneof(
  { weight: 4, arbitrary: fc.constant('push' as const) },
  { weight: 3, arbitrary: fc.constant('shift' as const) },
  { weight: 1, arbitrary: fc.constantFrom('put back' as const, 'unshift' as const, 'keep' as const) },
)

test('is an array that gives out what is first, whatever comes back or is taken out in between', () => {
  fc.assert(
    fc.property(fc.array(action, { maxLength: 400, size: 'max' }), fc.infiniteStream(fc.nat()), (actions, picks) => {
      const pick = (below: number): number => (picks.next().value as number) % below
      const fifo = new Fifo<number>()
      let model: number[] = []
      let out: number[] = []
      let arrivals = 0

      for (const what of actions) {
        if (what === 'push') {
          fifo.push(arrivals)
          model.push(arrivals)
          arrivals += 1
        } else if (what === 'shift') {
          const item = fifo.shift()
          expect(item).toBe(model.shift())
          if (item !== undefined) out.push(item)
        } else if (what === 'put back' && out.length > 0) {
          const [item] = out.splice(pick(out.length), 1) as [number]
          fifo.insertBehind(item, (other) => other < item)
          const at = model.findIndex((other) => other > item)
          model.splice(at === -1 ? model.length : at, 0, item)
        } else if (what === 'unshift') {
          fifo.unshift(out)
          model = [...out, ...model]
          out = []
        } else if (what === 'keep') {
          const divisor = 2 + pick(5)
          fifo.keep((item) => item % divisor !== 0)
          model = model.filter((item) => item % divisor !== 0)
        }
        expect(fifo.size).toBe(model.length)
        expect(fifo.peek()).toBe(model[0])
      }
      expect([...fifo]).toEqual(model)
    }),
  )
})

test('holds on to nothing that has left it', async () => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const fifo = new Fifo<object>()
  const left = [1, 2, 3].map((number) => {
    const item = { number }
    fifo.push(item)
    return new WeakRef(item)
  })
  fifo.push({ number: 4 })

  for (let count = 0; count < 3; count += 1) fifo.shift()
  await setImmediate()
  collect()

  expect(left.map((ref) => ref.deref())).toEqual([undefined, undefined, undefined])
  expect(fifo.peek()).toEqual({ number: 4 })
})
