import { type Benchmark, paired, type Row, spread } from '../harness/index.js'
import { OURS, PARTS } from './gateways.js'
import { canLoad, inTurns, planOf } from './rounds.js'

/** What each part of the full chain costs: the same gateway with one part more each time. */
export const parts: Benchmark = {
  name: 'parts',
  async *run(effort) {
    if (!canLoad('parts')) return

    const names = [OURS, ...Object.keys(PARTS)]
    const turns = await inTurns(names, planOf(effort))
    const cpu = (name: string): readonly number[] => turns.get(name)!.map((turn) => turn.cpu)
    const rows = names.map((name, index): Row => {
      const before = names[index - 1]
      return {
        name,
        role: 'ours',
        amount: spread(cpu(name)),
        ...(before !== undefined && { added: spread(paired(cpu(name), cpu(before), (all, rest) => all - rest)) }),
      }
    })

    yield { title: 'The full chain, part by part. Processor time of the gateway', unit: 'ns/request', rows }
  },
}
