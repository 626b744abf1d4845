import fc from 'fast-check'
import { expect, test } from 'vitest'
import { virtualClock } from '../internal/virtual-clock.js'
import { Agenda } from './agenda.js'

test('runs everything when it is due, in the order of time, then of making', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.integer({ min: 0, max: 20 }), { maxLength: 40 }), async (delays) => {
      const clock = virtualClock()
      const agenda = new Agenda(clock)
      agenda.resume()
      const ran: [at: number, made: number][] = []
      delays.forEach((delay, made) => {
        agenda.after(delay, () => ran.push([clock.now(), made]))
      })

      await clock.advance(20)

      const expected = delays.map((delay, made): [number, number] => [delay, made])
      expect(ran).toEqual(expected.sort(([a, i], [b, j]) => a - b || i - j))
    }),
    { numRuns: 50 },
  )
})

test('has no timer while paused, and runs what fell due when it resumes', async () => {
  const clock = virtualClock()
  let timers = 0
  const counting = {
    now: clock.now,
    after(ms: number, run: () => void) {
      timers += 1
      const cancel = clock.after(ms, () => {
        timers -= 1
        run()
      })
      return () => {
        timers -= 1
        cancel()
      }
    },
  }
  const agenda = new Agenda(counting)
  const ran: string[] = []
  agenda.resume()
  agenda.after(10, () => ran.push('first'))
  agenda.after(5, () => ran.push('sooner'))
  expect(timers).toBe(1)

  agenda.pause()
  expect(timers).toBe(0)
  await clock.advance(100)
  expect(ran).toEqual([])

  agenda.resume()
  await clock.advance(0)
  expect(ran).toEqual(['sooner', 'first'])
  expect(timers).toBe(0)
})
