import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Backlog } from './backlog.js'

test('gives out in the order of arrival, whatever was put back in between', () => {
  const action = fc.constantFrom('push', 'shift', 'put back')
  fc.assert(
    fc.property(fc.array(action, { maxLength: 200 }), fc.infiniteStream(fc.nat()), (actions, picks) => {
      const backlog = new Backlog<{ place: number }>()
      const model: number[] = []
      const out: number[] = []
      let arrivals = 0

      for (const what of actions) {
        if (what === 'push') {
          backlog.push({ place: arrivals })
          model.push(arrivals++)
        } else if (what === 'shift') {
          const place = backlog.shift()?.place
          expect(place).toBe(model.shift())
          if (place !== undefined) out.push(place)
        } else if (out.length > 0) {
          const [place] = out.splice((picks.next().value as number) % out.length, 1)
          backlog.putBack({ place: place as number })
          model.push(place as number)
          model.sort((a, b) => a - b)
        }
        expect(backlog.size).toBe(model.length)
        expect(backlog.peek()?.place).toBe(model[0])
      }
      expect([...backlog].map(({ place }) => place)).toEqual(model)
    }),
  )
})
