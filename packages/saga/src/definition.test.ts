import { describe, expect, test } from 'vitest'
import { createSagaEngine, memoryStore, saga } from './index.js'
import { postgresStore } from './postgres.js'

// biome-ignore lint/suspicious/noExplicitAny: what the types forbid is the point here
const loose = (name = 'order', version = 1): any => saga<null>(name, { version })
const nothing = () => undefined

test('has a name, a version and a shape that depends on the steps alone', () => {
  const define = (name: string, step: 'a' | 'b', run: () => unknown) =>
    loose(name, 2).step(step, run).pivot('p', run).returns(run)

  const { name, version, shape } = define('order', 'a', () => 1)

  expect([name, version]).toEqual(['order', 2])
  expect(shape).toMatch(/^[0-9a-f]{8}$/)
  expect(define('other', 'a', () => 2).shape).toBe(shape)
  expect(define('order', 'b', () => 1).shape).not.toBe(shape)
})

test('lets one beginning have several endings', () => {
  const begin = saga<null>('order').step('a', nothing)

  expect(begin.step('b', nothing).returns(nothing).shape).not.toBe(begin.step('c', nothing).returns(nothing).shape)
})

describe('refuses', () => {
  test.each<[string, () => unknown]>([
    ["the name of a saga must be a string of 1 to 200 characters, not ''", () => saga('')],
    ["saga 'order': version must be a whole number from 1, not 0", () => saga('order', { version: 0 })],
    ["'a' is the name of an earlier step", () => loose().step('a', nothing).step('a', nothing)],
    ['the character U+0000', () => loose().step('a\0', nothing)],
    ["'b' would be a second pivot", () => loose().pivot('a', nothing).txPivot('b', nothing)],
    ["step 'a': run must be a function, not undefined", () => loose().step('a')],
    ["step 'a': compensate must be a function, not 1", () => loose().step('a', nothing, { compensate: 1 })],
    ['compensate has no place', () => loose().pivot('a', nothing).step('b', nothing, { compensate: nothing })],
    ["step 'a': timeout must be milliseconds", () => loose().step('a', nothing, { timeout: Number.NaN })],
    ["step 'a': timeout must be milliseconds", () => loose().step('a', nothing, { timeout: 2 ** 31 })],
    ["step 'a': timeout must be milliseconds", () => loose().step('a', nothing, { timeout: 0 })],
    ["step 'a': undoTimeout must be", () => loose().step('a', nothing, { undoTimeout: -1 })],
    ["step 'a': retry.attempts must be", () => loose().step('a', nothing, { retry: { attempts: 0 } })],
    ["step 'a': undoRetry.attempts must be", () => loose().step('a', nothing, { undoRetry: { attempts: 1.5 } })],
    ["step 'a': retry.backoff must be a function", () => loose().step('a', nothing, { retry: { backoff: 100 } })],
    ["step 'a': inDoubt must be", () => loose().step('a', nothing, { inDoubt: 'maybe' })],
    ["step 'a': intent must be true or false", () => loose().step('a', nothing, { intent: 'yes' })],
    ['returns needs a function, not undefined', () => loose().returns()],
    ['a saga definition', () => createSagaEngine({ store: memoryStore(), sagas: [{} as never] })],
    ['store is not a store', () => createSagaEngine({ store: {} as never, sagas: [] })],
    ['concurrency must be', () => createSagaEngine({ store: memoryStore(), sagas: [], concurrency: 0 })],
    ['lease.ttl must be milliseconds', () => createSagaEngine({ store: memoryStore(), sagas: [], lease: { ttl: 5 } })],
    ['transaction must be a function', () => memoryStore({ transaction: 1 as never })],
    ['schema must be a name', () => postgresStore({ pool: { query: nothing } as never, schema: 'x"; drop' })],
    ['pool must have connect()', () => postgresStore({ pool: { query: nothing } as never })],
    ['pool must be a pg.Pool', () => postgresStore({ pool: {} as never })],
  ])('%s', (message, define) => {
    expect(define).toThrow(TypeError)
    expect(define).toThrow(message)
  })

  test('a transactional step on a store without transactions', () => {
    const order = saga<null>('order').txStep('a', nothing).returns(nothing)

    expect(() => createSagaEngine({ store: memoryStore(), sagas: [order] })).toThrow(
      "step 'a' of saga 'order' is transactional",
    )
  })

  test('one saga twice', () => {
    const order = saga<null>('order').returns(nothing)

    expect(() => createSagaEngine({ store: memoryStore(), sagas: [order, order] })).toThrow('given twice')
  })
})
