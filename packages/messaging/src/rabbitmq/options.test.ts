import { exponential } from '@msx/retry'
import { expect, test } from 'vitest'
import { completeOptions } from './options.js'

const half = (): number => 0.5

function delayWith(reconnect: unknown): number {
  return completeOptions({ url: 'amqp://127.0.0.1', reconnect: reconnect as () => number }).reconnect(3, 400, half)
}

test.each([
  ['that throws', throwing],
  ['of NaN', () => Number.NaN],
  ['below 0', () => -1],
  ['of nothing', () => undefined],
  ['that comes later', async () => 5],
  ['that fails later', async () => throwing()],
])('a back-off %s is replaced by the default', (_what, broken) => {
  expect(delayWith(broken)).toBe(exponential({ base: 200, max: 10_000 })(3, 400, half))
})

test('a back-off is asked with what it is to know, and its delay is one that a timer keeps', () => {
  expect(delayWith((retry: number, last: number, random: () => number) => retry + last + random())).toBe(403.5)
  expect(delayWith(() => 0)).toBe(0)
  expect(delayWith(() => Number.POSITIVE_INFINITY)).toBe(2 ** 31 - 1)
})

function throwing(): never {
  throw new Error('no idea')
}
