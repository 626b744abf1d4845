import * as fc from 'fast-check'
import { expect, it } from 'vitest'
import { adaptiveThrottle } from './adaptive-throttle.js'
import { isThrottledError } from './errors.js'
import { VirtualClock } from './test-support.js'

const WINDOW = 1_000
const BUCKET = WINDOW / 10

const step = fc.record({
  wait: fc.oneof(fc.constant(0), fc.nat(150), fc.nat(3_000)),
  works: fc.boolean(),
  dice: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
})

it('rejects exactly when a naive count over the same calls says so', () =>
  fc.assert(
    fc.asyncProperty(
      fc.array(step, { maxLength: 80 }),
      fc.double({ min: 1, max: 5, noNaN: true }),
      async (steps, target) => {
        const clock = new VirtualClock()
        let dice = 0
        const throttle = adaptiveThrottle({ target, window: WINDOW, clock, random: () => dice })
        let seen: { readonly bucket: number; readonly accepted: boolean }[] = []

        for (const { wait, works, dice: thrown } of steps) {
          clock.advance(wait)
          dice = thrown
          const bucket = Math.floor(clock.now() / BUCKET)
          seen = seen.filter((call) => call.bucket > bucket - 10)
          const accepts = seen.filter(({ accepted }) => accepted).length
          const rate = Math.min(0.9, Math.max(0, (seen.length - target * accepts) / (seen.length + 1)))

          const result = await throttle.execute(() => works || Promise.reject(new Error('503'))).catch((error) => error)

          expect(isThrottledError(result)).toBe(thrown < rate)
          seen.push({ bucket, accepted: result === true })
          expect(throttle.metrics).toMatchObject({ requests: seen.length, inFlight: 0 })
        }
      },
    ),
  ))
