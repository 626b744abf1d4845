import type { SagaEngine } from '@msx/saga'
import { Gauge, type Registry } from 'prom-client'

/** More are not counted: one is enough to call somebody. */
const most = 100

/**
 * Registers how many checkouts wait for an operator now, whichever process brought them there. While the store does not
 * answer there is no value.
 */
export function measureStuck(registry: Registry, engine: Pick<SagaEngine, 'list'>): void {
  const stuck = new Gauge({
    name: 'checkouts_stuck',
    help: `Checkouts that wait for an operator, up to ${most}.`,
    registers: [registry],
    async collect() {
      const page = await engine.list({ status: 'stuck' }, { limit: most }).catch(() => undefined)
      if (page === undefined) stuck.remove()
      else stuck.set(page.items.length)
    },
  })
}
