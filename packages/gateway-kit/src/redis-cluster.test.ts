import { Cluster } from 'ioredis'
import { createCluster } from 'redis'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { connectTo, type OwnRedis, ownRedis, redisServerInstalled } from './internal/test-redis.js'
import { type RedisClient, redisLimiter } from './redis.js'

const installed = await redisServerInstalled()

/** A cluster of one, which serves all slots: enough to see that questions find their way. */
describe.skipIf(!installed)('on a cluster', () => {
  let server: OwnRedis

  beforeAll(async () => {
    server = await ownRedis({ 'cluster-enabled': 'yes', 'cluster-announce-ip': '127.0.0.1' })
    const { send, close } = await connectTo(server.url, 'ioredis')
    await send('CLUSTER', 'ADDSLOTSRANGE', '0', '16383')
    while (!String(await send('CLUSTER', 'INFO')).includes('cluster_state:ok')) {
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    close()
  }, 30_000)

  afterAll(() => server.close())

  async function countsTo(limit: number, client: RedisClient): Promise<void> {
    const limiter = redisLimiter({ client, limit, window: 2_147_483_647, deadline: 30_000, onError: 'deny' })
    const decisions = await Promise.all(Array.from({ length: limit + 5 }, () => limiter.take('a')))

    expect(decisions.filter(({ allowed }) => allowed)).toHaveLength(limit)
  }

  test('counts with the Cluster of ioredis', async () => {
    const cluster = new Cluster([server.url])
    cluster.on('error', () => {})
    await countsTo(3, cluster)
    cluster.disconnect()
  })

  test('counts with the cluster of redis, told which argument is the key', async () => {
    const cluster = createCluster({ rootNodes: [{ url: server.url }] })
    cluster.on('error', () => {})
    await cluster.connect()
    await countsTo(4, { sendCommand: (args) => cluster.sendCommand(args[3], false, args) })
    cluster.destroy()
  })
})
