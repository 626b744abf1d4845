import { type Benchmark, type Contest, calling, compare } from '../harness/index.js'
import { breakers } from './policies.js'
import { ANSWER, bare, plainWrapper, SETTINGS, type Setting } from './work.js'

/** A closed breaker with a failure rate over a time window; every call succeeds. */
export const breaker: Benchmark = {
  name: 'breaker',
  async *run(effort) {
    for (const setting of SETTINGS) {
      const { contest, close } = closedBreakers(setting)
      yield await compare(contest, effort)
      close()
    }
  },
}

function closedBreakers(setting: Setting): { contest: Contest; close(): void } {
  const { work, pattern } = setting
  const ours = breakers.msx()
  const cockatiel = breakers.cockatiel()
  const opossum = breakers.opossum(work.run)
  const lean = breakers.opossum(work.run, {}, { rollingPercentilesEnabled: false, enableSnapshots: false })

  return {
    contest: {
      stopwatch: 'cpu',
      title: `Circuit breaker, closed: ${setting.name}`,
      bare: bare(setting),
      ours: calling('@msx/circuit-breaker', pattern, () => ours.execute(work.run), ANSWER),
      peers: [
        { ...calling('cockatiel', pattern, () => cockatiel.execute(work.run), ANSWER), target: 0.5 },
        { ...calling('opossum', pattern, () => opossum.fire(), ANSWER), target: 0.2 },
        { ...calling('opossum without latencies', pattern, () => lean.fire(), ANSWER), target: 0.2 },
        { ...plainWrapper(setting), goal: 1 },
      ],
    },
    close() {
      opossum.shutdown()
      lean.shutdown()
    },
  }
}
