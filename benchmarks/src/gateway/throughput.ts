import type { Benchmark } from '../harness/index.js'
import { BARE, EXPRESS, FASTIFY, FASTIFY_TOO, OUR_CHAIN, OURS } from './gateways.js'
import { interferenceTable } from './interference.js'
import { has } from './processes.js'
import { canLoad, contested, information, inTurns, type Limits, NGINX, planOf, type Taken } from './rounds.js'

/** A limit is of our time over theirs: so many times as many requests a second are the inverse of the time. */
const faster = (times: number): number => Number((1 / times).toFixed(3))

/** As many requests a second as one core takes, and how long they take then. */
export const throughput: Benchmark = {
  name: 'throughput',
  async *run(effort) {
    if (!canLoad('throughput')) return
    if (!has('nginx')) console.warn('Without nginx, for it is not installed (apt-get install nginx-light).\n')

    const names = [OURS, OUR_CHAIN, BARE, FASTIFY, FASTIFY_TOO, EXPRESS, ...(has('nginx') ? [NGINX] : [])]
    const turns = await inTurns(names, planOf(effort))
    const contest = (title: string, ours: string, limits: Limits, read: (turn: Taken) => number, unit: string) =>
      contested(title, ours, limits, (name) => turns.get(name)!.map(read), unit)

    const plain = {
      [FASTIFY]: { target: faster(1.7) },
      [BARE]: { goal: faster(0.85) },
      ...(has('nginx') && { [NGINX]: { goal: faster(0.6) } }),
    }
    const chain = {
      [FASTIFY]: { target: faster(1.5) },
      [FASTIFY_TOO]: {},
      [EXPRESS]: { target: faster(2) },
      [OURS]: {},
    }
    const [time, core] = ['Requests as fast as they are answered', 'Processor time of the gateway']
    yield contest(`Plain proxy, GET 1 KiB. ${time}`, OURS, plain, ({ perRequest }) => perRequest, 'ns/request')
    yield contest(`Plain proxy, GET 1 KiB. ${core}`, OURS, information(plain), ({ cpu }) => cpu, 'ns/request')
    yield contest('Plain proxy, p99', OURS, { [FASTIFY]: { target: 1 }, [BARE]: {} }, ({ p99 }) => p99, 'µs')
    yield contest(`Full chain, GET 1 KiB. ${time}`, OUR_CHAIN, chain, ({ perRequest }) => perRequest, 'ns/request')
    yield contest(`Full chain, GET 1 KiB. ${core}`, OUR_CHAIN, information(chain), ({ cpu }) => cpu, 'ns/request')
    yield contest('Full chain, p99', OUR_CHAIN, { [EXPRESS]: { target: 1 } }, ({ p99 }) => p99, 'µs')
    yield interferenceTable('Full load.', turns)
  },
}
