import type { HttpProblem } from '@shop/platform'
import { expect, test } from 'vitest'
import { turns } from './turns.js'

/** A task that ends when it is told to. */
function task(name: string, log: string[]) {
  let end = () => {}
  const ended = new Promise<void>((resolve) => {
    end = resolve
  })
  return {
    end,
    async run() {
      log.push(name)
      await ended
      return name
    },
  }
}

const settle = () => new Promise<void>((resolve) => setImmediate(resolve))

test('runs so many at once, the others in the order in which they came', async () => {
  const log: string[] = []
  const inTurn = turns({ atOnce: 2, waiting: 2 })
  const tasks = ['a', 'b', 'c', 'd'].map((name) => task(name, log))
  const results = Promise.all(tasks.map(({ run }) => inTurn(run)))

  await settle()
  expect(log).toEqual(['a', 'b'])
  tasks[1]?.end()
  await settle()
  expect(log).toEqual(['a', 'b', 'c'])

  for (const { end } of tasks) end()
  expect(await results).toEqual(['a', 'b', 'c', 'd'])
})

test('refuses who comes to a full queue with 503 and when to come back, and takes the next one again', async () => {
  const log: string[] = []
  const inTurn = turns({ atOnce: 1, waiting: 1 })
  const [first, second, late] = [task('first', log), task('second', log), task('late', log)]
  const running = [inTurn(first.run), inTurn(second.run)]

  const refused: unknown = await inTurn(late.run).catch((error: unknown) => error)
  first.end()
  second.end()
  await Promise.all(running)

  expect((refused as HttpProblem).problem).toMatchObject({ status: 503, headers: { 'retry-after': '1' } })
  late.end()
  expect(await inTurn(late.run)).toBe('late')
  expect(log).toEqual(['first', 'second', 'late'])
})

test('gives the turn on when a task fails', async () => {
  const inTurn = turns({ atOnce: 1, waiting: 1 })
  const failing = inTurn(() => Promise.reject(new Error('no')))
  const next = inTurn(async () => 'next')

  await expect(failing).rejects.toThrow('no')
  expect(await next).toBe('next')
})
