import { expect, test } from 'vitest'
import { judge, type Seen, type SeenOrder } from './judge.js'
import type { Expectation } from './scenario.js'

const order: SeenOrder = {
  id: 'o1',
  status: 'CANCELLED',
  reason: 'the card was declined',
  saga: { status: 'compensated', steps: ['do open', 'do reserve', 'undo reserve', 'undo open'] },
  told: ['order.created', 'order.cancelled'],
  spans: ['POST', 'Authorize', 'GetPayment', 'Void'],
}
const seen: Seen = {
  answers: [{ status: 202, ms: 40 }],
  orders: [order],
  edges: {
    'a b': { states: ['closed', 'open'], retries: 2, rejected: 0 },
    'c d': { states: ['half-open'], retries: 0, rejected: 0 },
  },
  effect: { delayed: 0, failed: 3, dropped: 0 },
  services: { a: ['ready', 'away', 'ready'], b: ['ready', 'away'] },
  stockTaken: 1,
  deadLetters: { notification: 1 },
  recovered: true,
}

const edge = { from: 'a', to: 'b' }

test.each<[Expectation, Expectation]>([
  [
    { see: 'answers', status: 202 },
    { see: 'answers', status: 503 },
  ],
  [
    { see: 'answers', status: 202, within: 50 },
    { see: 'answers', status: 202, within: 30 },
  ],
  [
    { see: 'orders', status: 'CANCELLED' },
    { see: 'orders', status: 'CONFIRMED' },
  ],
  [
    { see: 'orders', status: 'CANCELLED', because: 'declined' },
    { see: 'orders', status: 'CANCELLED', because: 'left' },
  ],
  [
    { see: 'sagas', status: 'compensated' },
    { see: 'sagas', status: 'completed' },
  ],
  [
    { see: 'sagas', status: 'compensated', steps: ['undo reserve'] },
    { see: 'sagas', status: 'compensated', steps: ['undo authorise'] },
  ],
  [
    { see: 'spans', inOrder: ['Authorize', 'Void'] },
    { see: 'spans', inOrder: ['Void', 'Authorize'] },
  ],
  [
    { see: 'breaker', ...edge, state: 'open' },
    { see: 'breaker', from: 'b', to: 'a', state: 'open' },
  ],
  [
    { see: 'breaker', from: 'c', to: 'd', state: 'open' },
    { see: 'breaker', from: 'c', to: 'd', state: 'closed' },
  ],
  [
    { see: 'retries', ...edge, atLeast: 2 },
    { see: 'retries', ...edge, atLeast: 3 },
  ],
  [
    { see: 'rejected', ...edge, atLeast: 0 },
    { see: 'rejected', ...edge, atLeast: 1 },
  ],
  [
    { see: 'effect', of: 'failed', atLeast: 3 },
    { see: 'effect', of: 'delayed', atLeast: 1 },
  ],
  [
    { see: 'service', name: 'a', status: 'away' },
    { see: 'service', name: 'c', status: 'away' },
  ],
  [
    { see: 'service', name: 'a', status: 'ready' },
    { see: 'service', name: 'b', status: 'ready' },
  ],
  [
    { see: 'stock', taken: 1 },
    { see: 'stock', taken: 0 },
  ],
  [
    { see: 'told', of: 'order.cancelled' },
    { see: 'told', of: 'order.confirmed' },
  ],
  [
    { see: 'dead-letters', group: 'notification', more: 1 },
    { see: 'dead-letters', group: 'notification', more: 0 },
  ],
])('%j holds where %j does not', (holding, failing) => {
  expect(judge(holding, seen)).toMatchObject({ holds: true })
  expect(judge(failing, seen)).toMatchObject({ holds: false })
})

test.each<Expectation>([
  { see: 'answers', status: 202 },
  { see: 'orders', status: 'CANCELLED' },
  { see: 'sagas', status: 'compensated' },
  { see: 'told', of: 'order.cancelled' },
  { see: 'recovery', of: 'orders' },
])('%j is not seen where nothing is', (expectation) => {
  const nothing: Seen = { ...seen, answers: [], orders: [], recovered: false }

  expect(judge(expectation, nothing)).toMatchObject({ holds: false })
})
