import { type Benchmark, type Contest, calling, compare } from '../harness/index.js'
import { timeouts } from './policies.js'
import { ANSWER, bare, plainWrapper, SETTINGS, type Setting } from './work.js'

/** A timeout of one second that never strikes, around work that does not read its signal. */
export const timeout: Benchmark = {
  name: 'timeout',
  async *run(effort) {
    for (const setting of SETTINGS) yield await compare(unusedTimeouts(setting), effort)
  },
}

function unusedTimeouts(setting: Setting): Contest {
  const { work, pattern } = setting
  const ours = timeouts.msx()
  const cockatiel = timeouts.cockatiel()
  const cooperative = timeouts.cockatielCooperative()

  return {
    stopwatch: 'cpu',
    title: `Timeout, signal not read: ${setting.name}`,
    bare: bare(setting),
    ours: calling('@msx/retry', pattern, () => ours.execute(work.run), ANSWER),
    peers: [
      { ...calling('cockatiel', pattern, () => cockatiel.execute(work.run), ANSWER), target: 0.03 },
      { ...calling('p-timeout', pattern, () => timeouts.pTimeout(work.run), ANSWER), target: 0.03 },
      calling('cockatiel, cooperative', pattern, () => cooperative.execute(work.run), ANSWER),
      plainWrapper(setting),
    ],
  }
}
