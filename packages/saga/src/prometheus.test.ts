import client from 'prom-client'
import { expect, test, vi } from 'vitest'
import { createSagaEngine, memoryStore, saga } from './index.js'
import { prometheus } from './prometheus.js'

test('counts what an engine does, until it is told to stop', async () => {
  const registry = new client.Registry()
  const order = saga<'ok' | 'no'>('order')
    .step('a', () => 1, { compensate: () => undefined })
    .step(
      'b',
      ({ input }) => {
        if (input === 'no') throw new Error('no')
      },
      { retry: { attempts: 2, backoff: () => 0 } },
    )
    .returns(() => null)
  const engine = createSagaEngine({ store: memoryStore(), sagas: [order] })
  const metrics = prometheus({ client, registry, prefix: 'shop_' })
  const stop = metrics.add(engine)
  expect(metrics.add(engine)).toBe(stop)
  await engine.run()
  for (const input of ['ok', 'no'] as const) await engine.settled((await engine.start(order, input)).id)

  await vi.waitFor(() => expect(engine.snapshot().running).toBe(0))
  const told = await registry.metrics()
  for (const line of [
    'shop_saga_started_total{saga="order"} 2',
    'shop_saga_ended_total{saga="order",status="completed"} 1',
    'shop_saga_ended_total{saga="order",status="compensated"} 1',
    'shop_saga_step_seconds_count{saga="order",step="a",outcome="done"} 2',
    'shop_saga_step_seconds_count{saga="order",step="b",outcome="retried"} 1',
    'shop_saga_step_seconds_count{saga="order",step="b",outcome="in_doubt"} 1',
    'shop_saga_step_seconds_count{saga="order",step="a",outcome="undone"} 1',
    'shop_saga_running 0',
  ])
    expect(told).toContain(line)
  expect(told).toMatch(/shop_saga_batch_rows_count [1-9]/)

  stop()
  await engine.settled((await engine.start(order, 'ok')).id)
  expect(await registry.metrics()).toContain('shop_saga_started_total{saga="order"} 2')
  await engine.close()
})

test('refuses what is no client, no registry, no engine', () => {
  const registry = new client.Registry()
  expect(() => prometheus({ client: {} as never, registry })).toThrow('client must be')
  expect(() => prometheus({ client, registry: null as never })).toThrow('registry must be')
  expect(() => prometheus({ client, registry }).add({} as never)).toThrow('must be a saga engine')
})
