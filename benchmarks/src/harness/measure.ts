import type { Subject } from './subject.js'

/** How much time a comparison may take. */
export interface Effort {
  readonly rounds: number
  /** How often each subject runs in one round. */
  readonly passes: number
  /** How long it runs each time, in milliseconds. */
  readonly slice: number
  /** How long each subject runs before anything counts, in milliseconds. */
  readonly warmUp: number
}

export const THOROUGH: Effort = { rounds: 15, passes: 6, slice: 6, warmUp: 300 }
export const QUICK: Effort = { rounds: 7, passes: 3, slice: 5, warmUp: 150 }
/** Just enough to see that everything runs. */
export const SMOKE: Effort = { rounds: 1, passes: 1, slice: 0, warmUp: 0 }

/**
 * `cpu` counts the time that this process was given, and so says the same on a busy machine as on a quiet one: for work
 * that never waits. `wall` is for work that waits for others.
 */
export type Stopwatch = 'cpu' | 'wall'

/**
 * Nanoseconds per call of each subject in each round. In a round the subjects take turns for short slices, each time in
 * another order: what else the machine does falls on all of them alike, and so does the garbage of their neighbours.
 */
export async function measure(
  subjects: readonly Subject[],
  effort: Effort,
  stopwatch: Stopwatch = 'wall',
): Promise<ReadonlyMap<Subject, number[]>> {
  const time = stopwatch === 'cpu' ? cpuTime : wallTime
  const calls = new Map<Subject, number>()
  // Twice, because what the later ones teach V8 of shared code makes it compile that of the earlier ones again.
  for (const subject of [...subjects, ...subjects]) calls.set(subject, await warmUp(subject, effort, time))

  const samples = new Map<Subject, number[]>(subjects.map((subject) => [subject, []]))
  for (let round = 0; round < effort.rounds; round++) {
    globalThis.gc?.()
    const sums = new Map<Subject, number>(subjects.map((subject) => [subject, 0]))
    for (let pass = 0; pass < effort.passes; pass++) {
      for (const subject of orderOf(round + pass, subjects)) {
        sums.set(subject, sums.get(subject)! + (await time(subject, calls.get(subject)!)))
      }
    }
    for (const subject of subjects) samples.get(subject)!.push(sums.get(subject)! / effort.passes)
  }
  return samples
}

/** Rotated by one each time, and backwards every other time: nobody always follows the same neighbour. */
export function orderOf<T>(turn: number, subjects: readonly T[]): readonly T[] {
  const start = turn % subjects.length
  const rotated = [...subjects.slice(start), ...subjects.slice(0, start)]
  return turn % 2 === 0 ? rotated : rotated.reverse()
}

/** Runs a subject until it is warm and answers how many calls fill a slice. */
async function warmUp(subject: Subject, { warmUp, slice }: Effort, time: Timer): Promise<number> {
  let calls = 1
  let nanoseconds = await time(subject, calls)
  for (let spent = nanoseconds; spent < warmUp * 1e6; spent += nanoseconds * calls) {
    calls = Math.min(calls * 2, callsIn(Math.max(slice, 1), nanoseconds))
    nanoseconds = await time(subject, calls)
  }
  return Math.max(callsIn(slice, nanoseconds), MINIMUM_CALLS)
}

/** Enough to be a mean, few enough to be over at once. */
const MINIMUM_CALLS = 10

function callsIn(milliseconds: number, nanosecondsPerCall: number): number {
  return Math.max(1, Math.round((milliseconds * 1e6) / nanosecondsPerCall))
}

/** Runs so many calls and answers with nanoseconds per call. */
type Timer = (subject: Subject, calls: number) => Promise<number>

async function wallTime(subject: Subject, calls: number): Promise<number> {
  const start = performance.now()
  await subject.run(calls)
  return Math.max((performance.now() - start) * 1e6, 1) / calls
}

async function cpuTime(subject: Subject, calls: number): Promise<number> {
  const start = process.cpuUsage()
  await subject.run(calls)
  const { user, system } = process.cpuUsage(start)
  return Math.max((user + system) * 1e3, 1) / calls
}
