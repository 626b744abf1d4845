import { expect, test } from 'vitest'
import { afterCrash, type Crashes } from './restarts.js'

test('waits twice as long after each crash, and never longer than ten seconds', () => {
  let crashes: Crashes = { count: 0 }
  const delays: number[] = []
  for (let i = 0; i < 8; i++) {
    const next = afterCrash(crashes, 1_000)
    crashes = next.crashes
    delays.push(next.delay)
  }

  expect(delays).toEqual([250, 500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000])
})

test('begins again after a process that ran for half a minute', () => {
  expect(afterCrash({ count: 7 }, 30_000)).toEqual({ crashes: { count: 1 }, delay: 250 })
})
