import { type Benchmark, type Contest, calling, compare } from '../harness/index.js'
import { pipelines } from './policies.js'
import { ANSWER, bare, plainWrapper, SETTINGS, type Setting } from './work.js'

/** Retries around a breaker around a timeout for each attempt; nothing fails and no signal is read. */
export const pipeline: Benchmark = {
  name: 'pipeline',
  async *run(effort) {
    for (const setting of SETTINGS) yield await compare(quietPipelines(setting), effort)
  },
}

function quietPipelines(setting: Setting): Contest {
  const { work, pattern } = setting
  const ours = pipelines.msx()
  const cockatiel = pipelines.cockatiel()

  return {
    stopwatch: 'cpu',
    title: `Pipeline of retry, breaker and timeout: ${setting.name}`,
    bare: bare(setting),
    ours: calling('@msx pipeline', pattern, () => ours.execute(work.run), ANSWER),
    peers: [
      { ...calling('cockatiel wrap', pattern, () => cockatiel.execute(work.run), ANSWER), target: 0.05 },
      plainWrapper(setting),
    ],
  }
}
