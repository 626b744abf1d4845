import { expect, test } from 'vitest'
import { Lines } from './lines.js'

interface Row {
  readonly id: number
  readonly type: string
  readonly key: string | null
}

const row = (id: number, type: string, key: string | null): Row => ({ id, type, key })

function lines() {
  const sent: number[] = []
  const dropped: number[] = []
  const own = new Lines<Row>(
    ({ id }) => sent.push(id),
    ({ id }) => dropped.push(id),
  )
  return { own, sent, dropped }
}

test('lets rows go out without waiting once the broker has taken their type', () => {
  const { own, sent } = lines()
  const first = row(1, 'a', 'k')
  own.offer(first)
  own.offer(row(2, 'a', 'k'))
  own.offer(row(3, 'a', 'other'))
  own.offer(row(4, 'a', null))
  expect(sent).toEqual([1, 3, 4])

  own.sent(first)
  own.offer(row(5, 'a', 'k'))
  own.offer(row(6, 'a', 'k'))

  expect(sent).toEqual([1, 3, 4, 2, 5, 6])
})

test('waits again behind a type that is new', () => {
  const { own, sent } = lines()
  const [first, second] = [row(1, 'a', 'k'), row(2, 'b', 'k')]
  own.offer(first)
  own.offer(second)
  own.offer(row(3, 'a', 'k'))

  own.sent(first)
  expect(sent).toEqual([1, 2])
  own.sent(second)
  expect(sent).toEqual([1, 2, 3])
})

test('lets nothing of a key out behind a row that failed, until that is written down', () => {
  const { own, sent, dropped } = lines()
  const first = row(1, 'a', 'k')
  own.offer(first)
  own.offer(row(2, 'a', 'k'))
  own.failed(first)
  own.offer(row(3, 'a', 'k'))
  own.offer(row(4, 'b', 'other'))
  expect([sent, dropped]).toEqual([
    [1, 4],
    [2, 3],
  ])

  own.settled(first)
  own.offer(row(5, 'a', 'k'))
  expect(sent).toEqual([1, 4, 5])
})
