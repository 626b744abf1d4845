import { expect, test } from 'vitest'
import { undoStack } from './undo-stack.js'

test('undoes the last step first, each of them once, also when asked twice', async () => {
  const done: string[] = []
  const undo = undoStack(() => {})
  for (const name of ['one', 'two', 'three']) undo.add(async () => done.push(name))

  await Promise.all([undo.run(), undo.run()])
  await undo.run()

  expect(done).toEqual(['three', 'two', 'one'])
})

test('tells of a step that failed and goes on', async () => {
  const done: string[] = []
  const told: unknown[] = []
  const undo = undoStack((error) => told.push(error))
  undo.add(async () => done.push('one'))
  undo.add(() => Promise.reject('broken'))

  await undo.run()

  expect(done).toEqual(['one'])
  expect(told).toEqual(['broken'])
})
