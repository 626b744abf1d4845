import { type Benchmark, paired, type Row, spread } from '../harness/index.js'
import { BARE, FASTIFY, OUR_CHAIN, OURS } from './gateways.js'
import { fullLoad } from './load.js'
import { type Started, startBackend, startGateway } from './processes.js'
import { canLoad, planOf, warm } from './rounds.js'

/** How long a gateway goes on before it counts as warm, in ms. */
const SETTLE = 3_000
const SECOND = 1_000

/**
 * V8 collects everything in a process that has been idle for some seconds. Code that was optimised for the shapes of
 * objects of which none is alive then goes with them, and the next requests have to wait until it is made again.
 */
export const waking: Benchmark = {
  name: 'waking',
  async *run(effort) {
    if (!canLoad('waking')) return

    const { rounds, warmUp } = planOf(effort)
    const backend = await startBackend()
    const rows: Row[] = []
    try {
      for (const name of [OURS, OUR_CHAIN, BARE, FASTIFY]) {
        const gateway = await startGateway(name, `http://127.0.0.1:${backend.port}`)
        const before: number[] = []
        const after: number[] = []
        try {
          await warm(gateway.port, gateway.token, warmUp)
          for (let round = 0; round < Math.ceil(rounds / 2); round += 1) {
            await fullLoad(gateway.port, gateway.token, SETTLE, { cold: true })
            before.push(await perRequest(gateway))
            await gateway.collect()
            after.push(await perRequest(gateway))
          }
        } finally {
          await gateway.stop()
        }
        const added = spread(paired(after, before, (woken, warm) => woken - warm))
        rows.push({ name, role: name === OURS || name === OUR_CHAIN ? 'ours' : 'peer', amount: spread(before), added })
      }
    } finally {
      await backend.stop()
    }

    yield {
      title: 'What is added in the first second after V8 has collected everything. Processor time of the gateway',
      unit: 'ns/request',
      rows,
    }
  },
}

/** Nanoseconds of processor time in a second of full load. */
async function perRequest(gateway: Started): Promise<number> {
  const cpu = gateway.cpu()
  const { requests } = await fullLoad(gateway.port, gateway.token, SECOND, { cold: true })

  return ((gateway.cpu() - cpu) * 1e6) / requests
}
