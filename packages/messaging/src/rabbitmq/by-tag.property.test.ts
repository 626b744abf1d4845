import fc from 'fast-check'
import { expect, test } from 'vitest'
import { ByTag } from './by-tag.js'

/** Push, or take the one so many after the first. */
const step = fc.oneof({ weight: 3, arbitrary: fc.constant('push' as const) }, { weight: 1, arbitrary: fc.nat(200) })

test('is a map whose keys count up', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 300, size: 'max' }), (steps) => {
      const items = new ByTag<{ readonly tag: number }>()
      const model = new Map<number, { readonly tag: number }>()
      let next = 1

      for (const each of steps) {
        if (each === 'push') {
          const item = { tag: next }
          expect(items.push(item)).toBe(next)
          model.set(next, item)
          next += 1
        } else {
          const tag = items.first + each
          expect(items.get(tag)).toBe(model.get(tag))
          expect(items.take(tag)).toBe(model.get(tag))
          model.delete(tag)
        }
        expect(items.first).toBe(model.keys().next().value ?? next)
      }

      expect([...items]).toEqual([...model.values()])
    }),
  )
})
