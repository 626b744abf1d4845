import type { ServerResponse } from 'node:http'
import { expect, test, vi } from 'vitest'
import { InFlight } from './in-flight.js'

const response = (onDestroy: () => void = () => {}): ServerResponse => ({ destroy: vi.fn(onDestroy), req: {} }) as never

test('counts what was added and not yet removed, in whatever order', () => {
  const underWay = new InFlight()
  const flights = [response(), response(), response()].map((res) => underWay.add(res))

  expect(underWay.size).toBe(3)
  for (const index of [1, 2, 0]) underWay.remove(flights[index]!)
  expect(underWay.size).toBe(0)

  underWay.destroyAll()
  for (const { res } of flights) expect(res.destroy).not.toHaveBeenCalled()
})

test('destroys each of those that are left, also when that removes it', () => {
  const underWay = new InFlight()
  const all = [0, 1, 2, 3].map((index) => response(() => underWay.remove(flights[index]!)))
  const flights = all.map((res) => underWay.add(res))

  underWay.remove(flights[2]!)
  underWay.destroyAll()

  expect(all.map((res) => vi.mocked(res.destroy).mock.calls.length)).toEqual([1, 1, 0, 1])
  expect(underWay.size).toBe(0)
})
