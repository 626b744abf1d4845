import { createHash } from 'node:crypto'
import type { CallingClient } from '@msx/gateway-kit/redis'
import { unavailable } from '@shop/platform'

/** The link that lets a browser in, once. */
export interface OperationsLink {
  readonly code: string
  /** False when it was called before, by this gateway or by another one. */
  use(): Promise<boolean>
}

/** For a gateway that is started again in the same process: whoever makes this keeps it. */
export function localLink(code: string): OperationsLink {
  let used = false

  return {
    code,
    async use() {
      if (used) return false
      used = true
      return true
    },
  }
}

/** For a gateway whose process is started again: Redis remembers which code was used last. */
export function redisLink(client: CallingClient, prefix: string, code: string): OperationsLink {
  const digest = createHash('sha256').update(code).digest('base64url')

  return {
    code,
    async use() {
      const before = await client.call('SET', `${prefix}:operations:used-link`, digest, 'GET').catch(() => {
        throw unavailable('Redis')
      })
      return String(before) !== digest
    },
  }
}
