import { createDiscovery, fixed } from '@msx/discovery'
import { ServiceDispatcher } from '@msx/discovery/undici'
import { BalancedPool, type Dispatcher, Pool } from 'undici'
import { type Benchmark, type Comparison, compare, type Effort, type Peer, type Subject } from '../harness/index.js'
import { CALLERS, requests } from './callers.js'
import { replicas } from './replicas.js'

/** 0.95 times as many requests per second. */
const POOL_LIMIT = 1 / 0.95

/** What the dispatcher adds to the pools that it is made of. */
export const dispatch: Benchmark = {
  name: 'dispatch',
  async *run(effort) {
    const longer = { ...effort, slice: effort.slice * 20 }
    yield await onePool(longer)
    yield await threeReplicas(longer)
  },
}

async function onePool(effort: Effort): Promise<Comparison> {
  const { origins, close } = await replicas(0)
  const ours = services(origins)
  const pool = new Pool(origins[0]!)
  try {
    return await compare(
      {
        title: `GET, ${CALLERS} callers, one replica`,
        ours: requesting('ServiceDispatcher', ours.dispatcher, 'http://users'),
        peers: [{ ...requesting('undici Pool', pool, origins[0]!), target: POOL_LIMIT }],
      },
      effort,
    )
  } finally {
    await Promise.all([ours.close(), pool.close()])
    await close()
  }
}

async function threeReplicas(effort: Effort): Promise<Comparison> {
  const { origins, close } = await replicas(0, 0, 0)
  const ours = services(origins)
  const pool = new BalancedPool([...origins])
  try {
    return await compare(
      {
        title: `GET, ${CALLERS} callers, three replicas`,
        ours: requesting('ServiceDispatcher', ours.dispatcher, 'http://users'),
        peers: [requesting('undici BalancedPool', pool, origins[0]!)],
      },
      effort,
    )
  } finally {
    await Promise.all([ours.close(), pool.close()])
    await close()
  }
}

/** A dispatcher that knows the service `users`. */
export function services(origins: readonly string[]): { dispatcher: Dispatcher; close(): Promise<void> } {
  const discovery = createDiscovery({ source: fixed({ users: origins }) })
  const dispatcher = new ServiceDispatcher(discovery)
  return {
    dispatcher,
    async close() {
      await dispatcher.close()
      await discovery.close()
    },
  }
}

function requesting(name: string, dispatcher: Dispatcher, origin: string): Subject & Peer {
  return {
    name,
    async run(calls) {
      await requests(dispatcher, origin, calls)
    },
  }
}
