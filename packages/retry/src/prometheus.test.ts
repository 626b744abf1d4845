import { readFile } from 'node:fs/promises'
import client, { Registry } from 'prom-client'
import { expect, it } from 'vitest'
import { constant } from './backoff.js'
import { hedge } from './hedge.js'
import { VirtualClock } from './internal/virtual-clock.js'
import { type Measurable, prometheus } from './prometheus.js'
import { retry } from './retry.js'
import { retryBudget } from './retry-budget.js'

const fails = () => Promise.reject(new Error('503'))

function measured(prefix?: string) {
  const registry = new Registry()
  /** The lines of the exposition that begin so. */
  const lines = async (start: string) => (await registry.metrics()).split('\n').filter((line) => line.startsWith(start))
  return { registry, lines, metrics: prometheus({ client, registry, prefix }) }
}

it('counts attempts by what came of them', async () => {
  const { metrics, lines } = measured()
  const policy = retry({ name: 'stock', backoff: constant(0) })
  metrics.add(policy)

  await policy.execute(() => 1)
  await policy.execute(fails).catch(() => {})

  expect(await lines('retry_attempts_total')).toEqual([
    'retry_attempts_total{name="stock",outcome="success"} 1',
    'retry_attempts_total{name="stock",outcome="retried"} 2',
    'retry_attempts_total{name="stock",outcome="exhausted"} 1',
  ])
})

it('measures the waits in seconds', async () => {
  const { metrics, lines } = measured()
  const clock = new VirtualClock()
  const policy = retry({ name: 'stock', attempts: 2, backoff: constant(250), clock })
  metrics.add(policy)

  const call = policy.execute(fails).catch(() => {})
  await clock.advance(250)
  await call

  expect(await lines('retry_delay_seconds_sum')).toEqual(['retry_delay_seconds_sum{name="stock"} 0.25'])
})

it('shows the balance of a budget as it is when asked, and what it refused', async () => {
  const { metrics, lines } = measured()
  const budget = retryBudget({ ratio: 0, minPerSecond: 2, ttl: 1_000, clock: new VirtualClock() })
  const policy = retry({ name: 'stock', backoff: constant(0), budget })
  metrics.add(policy)
  metrics.add(retry({ name: 'without' }))
  expect(await lines('retry_budget_balance')).toEqual(['retry_budget_balance{name="stock"} 2'])

  await policy.execute(fails).catch(() => {})
  await policy.execute(fails).catch(() => {})

  expect(await lines('retry_budget_balance')).toEqual(['retry_budget_balance{name="stock"} 0'])
  expect(await lines('retry_attempts_total{name="stock",outcome="budgetExhausted"}')).toHaveLength(1)
})

it('counts further copies: started, won, refused', async () => {
  const { metrics, lines } = measured()
  const clock = new VirtualClock()
  const budget = retryBudget({ ratio: 0, minPerSecond: 1, ttl: 1_000, clock })
  const policy = hedge({ name: 'stock', delay: 10, budget, clock })
  metrics.add(policy)

  await policy.execute(() => 1)
  let copies = 0
  const won = policy.execute(() => (++copies === 1 ? new Promise(() => {}) : 'second'))
  await clock.advance(10)
  await won
  await policy.execute(fails).catch(() => {})

  expect(await lines('hedge_copies_total')).toEqual([
    'hedge_copies_total{name="stock",outcome="started"} 1',
    'hedge_copies_total{name="stock",outcome="won"} 1',
    'hedge_copies_total{name="stock",outcome="budgetExhausted"} 1',
  ])
})

it('counts once what is added twice, and nothing after it is removed', async () => {
  const { metrics, lines } = measured()
  const policy = retry({ name: 'stock', budget: retryBudget() })
  const remove = metrics.add(policy)
  expect(metrics.add(policy)).toBe(remove)

  await policy.execute(() => 1)
  expect(await lines('retry_budget_balance{')).toHaveLength(1)
  remove()
  remove()
  await policy.execute(() => 1)

  expect(await lines('retry_attempts_total')).toEqual(['retry_attempts_total{name="stock",outcome="success"} 1'])
  expect(await lines('retry_budget_balance{')).toEqual([])

  metrics.add(policy)
  remove()
  await policy.execute(() => 1)
  expect(await lines('retry_attempts_total')).toEqual(['retry_attempts_total{name="stock",outcome="success"} 2'])
  expect(await lines('retry_budget_balance{')).toHaveLength(1)
})

it('keeps the number of names bounded', async () => {
  const { metrics, lines } = measured()
  for (let i = 0; i < 1_005; i++) {
    const policy = retry({ name: `n${i}` })
    metrics.add(policy)
    await policy.execute(() => 1)
  }

  expect(await lines('retry_attempts_total')).toHaveLength(1_001)
  expect(await lines('retry_attempts_total{name="other"')).toEqual([
    'retry_attempts_total{name="other",outcome="success"} 5',
  ])
})

it('has the metrics that the README lists, under a prefix', async () => {
  const { registry } = measured('shop_')
  const readme = await readFile(new URL('../README.md', import.meta.url), 'utf8')
  const documented = [...readme.matchAll(/^\| `((?:retry|hedge)_\w+)`/gm)].map((match) => `shop_${match[1]}`)

  expect(
    registry
      .getMetricsAsArray()
      .map(({ name }) => name)
      .sort(),
  ).toEqual(documented.sort())
})

it.each([
  [undefined, /options/],
  [{ client: {}, registry: {} }, /client/],
  [{ client, registry: undefined }, /registry/],
  [{ client, registry: new Registry(), prefix: 5 }, /prefix .* got 5/],
])('refuses %o', (options, message) => {
  expect(() => prometheus(options as never)).toThrow(TypeError)
  expect(() => prometheus(options as never)).toThrow(message)
})

it.each([undefined, {}, retryBudget()])('does not measure %o', (thing) => {
  expect(() => measured().metrics.add(thing as unknown as Measurable)).toThrow(/must be a retry or a hedge/)
})
