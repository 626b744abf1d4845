import { describe, expect, test } from 'vitest'
import { createSagaEngine, eventType, memoryStore, saga } from './index.js'
import { postgresStore } from './postgres.js'

// biome-ignore lint/suspicious/noExplicitAny: what the types forbid is the point here
type Loose = any
const loose = (name = 'order', version = 1): Loose => saga<null>(name, { version })
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

test('has a shape that depends on what runs together, on what may be left out and on its children', () => {
  const small = loose('small').returns(nothing)
  const shapes = [
    loose().step('a', nothing).step('b', nothing),
    loose().when(nothing).step('a', nothing).step('b', nothing),
    loose().parallel((b: Loose) => ({ a: b.step(nothing), b: b.step(nothing) })),
    loose()
      .parallel((b: Loose) => ({ a: b.step(nothing) }))
      .step('b', nothing),
    loose().child('a', small, nothing).step('b', nothing),
    loose().sleep('a', 1).step('b', nothing),
  ].map((chain) => chain.returns(nothing).shape)

  expect(new Set(shapes).size).toBe(shapes.length)
})

test('lets one beginning have several endings', () => {
  const begin = saga<null>('order').step('a', nothing)

  expect(begin.step('b', nothing).returns(nothing).shape).not.toBe(begin.step('c', nothing).returns(nothing).shape)
})

describe('refuses', () => {
  test.each<[string, () => unknown]>([
    ["the name of a saga must be a string of 1 to 200 characters, not ''", () => saga('')],
    ["saga 'order': version must be a whole number from 1 to 2147483647, not 0", () => saga('order', { version: 0 })],
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
    ["saga 'order': maxRunning must be", () => saga('order', { maxRunning: 0 })],
    ["step 'a': a sleep must be milliseconds", () => loose().sleep('a', -1)],
    ["step 'a': a sleep must be milliseconds", () => loose().sleep('a')],
    ["step 'a': a sleep must be milliseconds", () => loose().sleep('a', 1e14)],
    ['the condition of when must be a function', () => loose().when()],
    ['a saga definition', () => loose().child('a', {}, nothing)],
    ["step 'a': input must be a function", () => loose().child('a', loose().returns(nothing))],
    ["step 'a': the event's name must be a string", () => loose().waitFor('a', {}, { key: nothing })],
    ["step 'a': key must be a function", () => loose().waitFor('a', eventType('e'))],
    ["step 'a': onTimeout must be", () => loose().waitFor('a', eventType('e'), { key: nothing, onTimeout: 'x' })],
    ["step 'a': timeout must be", () => loose().waitFor('a', eventType('e'), { key: nothing, timeout: -1 })],
    ['the name of an event must be', () => eventType('')],
    ["parallel needs a function, not 'x'", () => loose().parallel('x')],
    ['parallel needs at least one branch', () => loose().parallel(() => ({}))],
    ['concurrency must be', () => loose().parallel((b: Loose) => ({ a: b.step(nothing) }), { concurrency: 0 })],
    [
      "'a' is the name of an earlier step",
      () =>
        loose()
          .step('a', nothing)
          .parallel((b: Loose) => ({ a: b.step(nothing) })),
    ],
    ["step 'a': run must be a function", () => loose().parallel((b: Loose) => ({ a: b.step() }))],
    [
      'compensate has no place',
      () =>
        loose()
          .pivot('p', nothing)
          .parallel((b: Loose) => ({ a: b.step(nothing, { compensate: nothing }) })),
    ],
    [
      "saga 'order' version 1 is given twice, in two forms",
      () =>
        createSagaEngine({
          store: memoryStore(),
          sagas: [
            loose().returns(nothing),
            loose('big').child('a', loose().returns(nothing), nothing).returns(nothing),
          ],
        }),
    ],
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
