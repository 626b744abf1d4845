import { type Benchmark, type Contest, calling, compare } from '../harness/index.js'
import { retries } from './policies.js'
import { ANSWER, bare, plainWrapper, SETTINGS, type Setting } from './work.js'

/** Up to three attempts with exponential back-off; the first succeeds. */
export const retry: Benchmark = {
  name: 'retry',
  async *run(effort) {
    for (const setting of SETTINGS) yield await compare(unusedRetries(setting), effort)
  },
}

function unusedRetries(setting: Setting): Contest {
  const { work, pattern } = setting
  const ours = retries.msx()
  const cockatiel = retries.cockatiel()

  return {
    stopwatch: 'cpu',
    title: `Retry, no failure: ${setting.name}`,
    bare: bare(setting),
    ours: calling('@msx/retry', pattern, () => ours.execute(work.run), ANSWER),
    peers: [
      { ...calling('cockatiel', pattern, () => cockatiel.execute(work.run), ANSWER), target: 0.3 },
      { ...calling('p-retry', pattern, () => retries.pRetry(work.run), ANSWER), target: 0.3 },
      plainWrapper(setting),
    ],
  }
}
