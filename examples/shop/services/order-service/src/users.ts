import type { Discovery } from '@msx/discovery'
import { type Instruments, serviceClient } from '@shop/platform'
import { describe, ServiceAway } from './service-away.js'

/** user-service, as an order needs it. */
export interface Users {
  /** Whether there is an account of this id. Rejects with ServiceAway. */
  exists(userId: string): Promise<boolean>
}

export function createUsers(discovery: Discovery, instruments: Instruments): Users {
  const service = 'user-service'
  const client = serviceClient({ discovery, instruments, service, attempts: 2 })

  return {
    async exists(userId) {
      try {
        const response = await client.fetch(`/internal/users/${encodeURIComponent(userId)}`)
        if (!response.ok && response.status !== 404) throw new Error(await describe(response))

        await response.body?.cancel()
        return response.ok
      } catch (error) {
        throw new ServiceAway(service, error)
      }
    },
  }
}
