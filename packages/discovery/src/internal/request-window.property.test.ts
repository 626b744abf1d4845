import fc from 'fast-check'
import { expect, it } from 'vitest'
import { RequestWindow } from './request-window.js'

const SPAN = 100
const step = fc.record({ passed: fc.oneof(fc.nat(30), fc.nat(400), fc.constant(2_500)), failed: fc.boolean() })

it('holds what a list of all requests would, cut to the last ten tenths', () => {
  fc.assert(
    fc.property(fc.nat(10_000), fc.array(step, { maxLength: 60 }), (start, steps) => {
      let now = start
      const window = new RequestWindow(SPAN * 10, now)
      const all: { slot: number; failed: boolean }[] = []

      for (const { passed, failed } of steps) {
        now += passed
        window.add(failed, now)
        all.push({ slot: Math.floor(now / SPAN), failed })

        const recent = all.filter(({ slot }) => slot > Math.floor(now / SPAN) - 10)
        const failures = recent.filter((one) => one.failed).length
        expect(window.read(now)).toEqual({ requests: recent.length, successRate: 1 - failures / recent.length })
      }

      expect(window.read(now + SPAN * 10)).toEqual({ requests: 0, successRate: 1 })
    }),
  )
})

it('does not come apart when the clock steps back', () => {
  const window = new RequestWindow(1_000, 5_000)
  window.add(true, 5_000)
  window.add(false, 4_000)

  expect(window.read(4_000)).toEqual({ requests: 2, successRate: 0.5 })
  expect(window.read(6_100)).toEqual({ requests: 0, successRate: 1 })
})
