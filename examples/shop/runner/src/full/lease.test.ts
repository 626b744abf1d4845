import { createDiscovery, fixed } from '@msx/discovery'
import { memory } from '@msx/messaging'
import { createOrderService } from '@shop/order-service'
import { createInstruments, createLog, pooledDatabase } from '@shop/platform'
import { expect, onTestFinished, test } from 'vitest'
import { provisionDatabases } from './provision.js'
import { testPostgres } from './test-postgres.js'

const server = await testPostgres()

test.skipIf(server === undefined)(
  'order-service keeps the lease on its checkouts while requests have all of its connections',
  { timeout: 30_000 },
  async () => {
    const { admin, name, pool: openPool, close } = server!
    onTestFinished(close)
    const database = name()
    await provisionDatabases(admin, [database], { [database]: 'p-orders' })
    const pool = openPool(database, 'p-orders', 3)
    onTestFinished(() => pool.end())
    const discovery = createDiscovery({ source: fixed({}) })
    onTestFinished(() => discovery.close())
    const service = createOrderService({
      database: pooledDatabase(pool),
      transport: memory(),
      discovery,
      log: createLog('order-service', 'silent'),
      instruments: createInstruments('order-service'),
      leaseTtl: 2_000,
    })
    await service.start()
    onTestFinished(() => service.stop())
    const watcher = openPool(database, 'p-orders', 1)
    onTestFinished(() => watcher.end())
    const lease = async (): Promise<{ id: string; expires_at: Date }> =>
      (await watcher.query('SELECT id, expires_at FROM order_service_saga.saga_worker')).rows[0]

    // The relay of the outbox has the third one, for as long as it runs.
    const taken = await Promise.all([pool.connect(), pool.connect()])
    onTestFinished(() => {
      for (const connection of taken) connection.release()
    })
    const before = await lease()

    await expect
      .poll(async () => (await lease()).expires_at.getTime(), { timeout: 5_000 })
      .toBeGreaterThan(before.expires_at.getTime())
    expect((await lease()).id).toBe(before.id)
  },
)
