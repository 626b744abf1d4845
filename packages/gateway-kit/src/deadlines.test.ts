import { expect, test } from 'vitest'
import { Deadlines } from './deadlines.js'

/** A clock that stands until it is moved, and counts the timers that are set on it. */
function handClock() {
  let now = 0
  const timers = new Map<() => void, number>()

  return {
    timers,
    now: () => now,
    after(ms: number, run: () => void) {
      timers.set(run, now + ms)
      return () => void timers.delete(run)
    },
    move(ms: number) {
      now += ms
      for (const [run, at] of timers) {
        if (at > now) continue
        timers.delete(run)
        run()
      }
    },
  }
}

function waiting(expired: string[], name: string, then = () => {}) {
  return {
    expire() {
      expired.push(name)
      then()
    },
  }
}

test('each expires when its time is up, with one timer for all', () => {
  const clock = handClock()
  const expired: string[] = []
  const deadlines = new Deadlines(clock, 100)

  deadlines.set(waiting(expired, 'a'), clock.now())
  clock.move(30)
  deadlines.set(waiting(expired, 'b'), clock.now())
  deadlines.set(waiting(expired, 'c'), clock.now())
  expect(clock.timers.size).toBe(1)

  clock.move(69)
  expect(expired).toEqual([])
  clock.move(1)
  expect(expired).toEqual(['a'])
  clock.move(29)
  expect(expired).toEqual(['a'])
  clock.move(1)
  expect(expired).toEqual(['a', 'b', 'c'])
  expect(clock.timers.size).toBe(0)
})

test.each([
  ['the first', 0, ['b', 'c']],
  ['the one between', 1, ['a', 'c']],
  ['the last', 2, ['a', 'b']],
])('what is taken back does not expire, and the others do: %s', (_, index, left) => {
  const clock = handClock()
  const expired: string[] = []
  const deadlines = new Deadlines(clock, 100)
  const set = ['a', 'b', 'c'].map((name) => {
    clock.move(10)
    return deadlines.set(waiting(expired, name), clock.now())
  })

  deadlines.remove(set[index]!)
  clock.move(100)
  clock.move(100)

  expect(expired).toEqual(left)
})

test('keeps no timer when nobody waits, and sets one anew', () => {
  const clock = handClock()
  const expired: string[] = []
  const deadlines = new Deadlines(clock, 100)

  deadlines.remove(deadlines.set(waiting(expired, 'a'), clock.now()))
  expect(clock.timers.size).toBe(0)

  clock.move(50)
  deadlines.set(waiting(expired, 'b'), clock.now())
  clock.move(99)
  expect(expired).toEqual([])
  clock.move(1)
  expect(expired).toEqual(['b'])
})

test('one that takes another back, or sets one, while it expires disturbs nobody', () => {
  const clock = handClock()
  const expired: string[] = []
  const deadlines = new Deadlines(clock, 100)
  deadlines.set(
    waiting(expired, 'a', () => {
      deadlines.remove(b)
      deadlines.set(waiting(expired, 'd'), clock.now())
    }),
    clock.now(),
  )
  const b = deadlines.set(waiting(expired, 'b'), clock.now())
  deadlines.set(waiting(expired, 'c'), clock.now())

  clock.move(100)
  expect(expired).toEqual(['a', 'c'])
  clock.move(100)
  expect(expired).toEqual(['a', 'c', 'd'])
})

test('one that throws does not keep the others from expiring', () => {
  const clock = handClock()
  const expired: string[] = []
  const deadlines = new Deadlines(clock, 100)
  const fail = () => {
    throw new Error('no')
  }
  deadlines.set(waiting(expired, 'a', fail), clock.now())
  deadlines.set(waiting(expired, 'b'), clock.now())

  expect(() => clock.move(100)).toThrow('no')
  clock.move(1)

  expect(expired).toEqual(['a', 'b'])
})

test('one that is over names no other: what is garbage would keep all that came after it', () => {
  const clock = handClock()
  const deadlines = new Deadlines(clock, 100)
  const [first, second, third] = ['a', 'b', 'c'].map((name) => deadlines.set(waiting([], name), clock.now()))

  deadlines.remove(second!)
  expect([second!.before, second!.after]).toEqual([undefined, undefined])
  expect([first!.after, third!.before]).toEqual([third, first])
  clock.move(100)
  expect([first!.after, third!.before]).toEqual([undefined, undefined])
})
