import { calling, type Pattern, patternName, type Subject } from '../harness/index.js'

/** What the policies are given to run. It ends at once, so that what remains is the policies' own time. */
export interface Work {
  readonly name: string
  readonly run: () => Promise<number>
}

export const ANSWER = 1

const ASYNC: Work = { name: 'an async function', run: async () => ANSWER }
const RESOLVED: Work = { name: 'a resolved promise', run: () => Promise.resolve(ANSWER) }

export const BATCH: Pattern = { batch: 100 }

export interface Setting {
  readonly work: Work
  readonly pattern: Pattern
  readonly name: string
}

/** The ways in which each policy is called. */
export const SETTINGS: readonly Setting[] = [
  setting(ASYNC, 'sequential'),
  setting(RESOLVED, 'sequential'),
  setting(ASYNC, BATCH),
]

function setting(work: Work, pattern: Pattern): Setting {
  return { work, pattern, name: `${work.name}, ${patternName(pattern)}` }
}

export function bare({ work, pattern }: Setting): Subject {
  return calling('await fn()', pattern, () => work.run(), ANSWER)
}

function noteFailure(): void {}

/** The least that code around a call can be, when it has something to do after it. */
export function plainWrapper({ work, pattern }: Setting): Subject {
  async function wrapped(): Promise<number> {
    try {
      return await work.run()
    } catch (error) {
      noteFailure()
      throw error
    }
  }
  return calling('async function with try/catch', pattern, wrapped, ANSWER)
}
