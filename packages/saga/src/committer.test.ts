import { expect, test } from 'vitest'
import { Committer } from './committer.js'
import { FRESH } from './state.js'
import type { Transition } from './store.js'

const write = (id: string, output?: string): Transition => ({
  id,
  fence: 1,
  rev: 1,
  token: id,
  keep: true,
  wakeIn: undefined,
  claims: 1,
  progress: FRESH,
  output,
  finished: false,
  record: undefined,
})

/** A store that answers when told to. */
function slowStore() {
  const batches: string[][] = []
  const answers: ((error?: Error) => void)[] = []
  const commit = (batch: readonly Transition[]): Promise<ReadonlySet<string>> => {
    const ids = batch.map(({ id }) => id)
    batches.push(ids)
    return new Promise((resolve, reject) => {
      answers.push((error) => (error ? reject(error) : resolve(new Set(ids.filter((id) => !id.startsWith('old'))))))
    })
  }
  return { commit, batches, answers }
}

const microtasks = async (): Promise<void> => {
  for (let i = 0; i < 10; i++) await Promise.resolve()
}

test('sends a lone transition at once', async () => {
  const store = slowStore()
  void new Committer(store, () => 0).commit(write('a'), false)

  await microtasks()

  expect(store.batches).toEqual([['a']])
})

test('gathers what comes while a statement is under way, and answers each its own', async () => {
  const store = slowStore()
  const committer = new Committer(store, () => 0)
  void committer.commit(write('a'), false)
  await microtasks()
  const late = ['d', 'old', 'c'].map((id) => committer.commit(write(id), false))
  await microtasks()
  expect(store.batches).toEqual([['a']])

  store.answers[0]?.()
  await microtasks()

  expect(store.batches[1]).toEqual(['c', 'd', 'old'])
  store.answers[1]?.()
  expect(await Promise.all(late)).toEqual([true, false, true])
})

test('sends a second statement beside the first when it is worth one, and no third', async () => {
  const store = slowStore()
  const committer = new Committer(store, () => 0)
  void committer.commit(write('a'), false)
  await microtasks()
  for (let i = 0; i < 160; i++) void committer.commit(write(`b${i}`), false)
  await microtasks()
  for (let i = 0; i < 160; i++) void committer.commit(write(`c${i}`), false)
  await microtasks()

  expect(store.batches.map(({ length }) => length)).toEqual([1, 160])
})

test('puts no saga twice into one statement', async () => {
  const store = slowStore()
  const committer = new Committer(store, () => 0)
  for (const id of ['a', 'a', 'b']) void committer.commit(write(id), false)
  await microtasks()
  expect(store.batches).toEqual([['a', 'b']])

  store.answers[0]?.()
  await microtasks()

  expect(store.batches[1]).toEqual(['a'])
})

test('keeps a statement below its limits', async () => {
  const store = slowStore()
  const committer = new Committer(store, () => 0)
  const huge = 'x'.repeat(900_000)
  for (const id of ['a', 'b']) void committer.commit(write(id, huge), false)
  await microtasks()
  store.answers[0]?.()
  await microtasks()
  expect(store.batches).toEqual([['a'], ['b']])

  for (let i = 0; i < 501; i++) void committer.commit(write(`c${i}`), false)
  for (const answer of store.answers) answer()
  await microtasks()
  for (const answer of store.answers) answer()
  await microtasks()

  expect(store.batches.slice(2).map(({ length }) => length)).toEqual([500, 1])
})

test('tells all of a batch that it failed, and sends alone who comes again', async () => {
  const store = slowStore()
  const committer = new Committer(store, () => 0)
  const both = Promise.allSettled(['a', 'b'].map((id) => committer.commit(write(id), false)))
  await microtasks()
  store.answers[0]?.(new Error('poison'))
  expect((await both).map(({ status }) => status)).toEqual(['rejected', 'rejected'])

  void committer.commit(write('a'), true)
  void committer.commit(write('b'), true)

  expect(store.batches.slice(1)).toEqual([['a'], ['b']])
})
