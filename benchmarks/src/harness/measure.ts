import type { Subject } from './subject.js'

/** How much time a comparison may take. */
export interface Effort {
  readonly rounds: number
  /** How long one subject runs in one round, in milliseconds. */
  readonly slice: number
  /** How long each subject runs before anything counts, in milliseconds. */
  readonly warmUp: number
}

export const THOROUGH: Effort = { rounds: 25, slice: 25, warmUp: 250 }
export const QUICK: Effort = { rounds: 7, slice: 10, warmUp: 80 }
/** Just enough to see that everything runs. */
export const SMOKE: Effort = { rounds: 1, slice: 0, warmUp: 0 }

/**
 * Nanoseconds per call of each subject in each round. In a round every subject runs once, each time in another order,
 * from an empty nursery: what else the machine does falls on all of them alike, and nobody pays for another's garbage.
 */
export async function measure(subjects: readonly Subject[], effort: Effort): Promise<ReadonlyMap<Subject, number[]>> {
  const calls = new Map<Subject, number>()
  // Twice, because what the later ones teach V8 of shared code makes it compile that of the earlier ones again.
  for (const subject of [...subjects, ...subjects]) calls.set(subject, await warmUp(subject, effort))

  const samples = new Map<Subject, number[]>(subjects.map((subject) => [subject, []]))
  for (let round = 0; round < effort.rounds; round++) {
    globalThis.gc?.()
    for (const subject of orderOf(round, subjects)) {
      globalThis.gc?.({ type: 'minor' })
      samples.get(subject)!.push(await time(subject, calls.get(subject)!))
    }
  }
  return samples
}

/** Rotated by one each round, and backwards every other round: nobody always follows the same neighbour. */
export function orderOf<T>(round: number, subjects: readonly T[]): readonly T[] {
  const start = round % subjects.length
  const rotated = [...subjects.slice(start), ...subjects.slice(0, start)]
  return round % 2 === 0 ? rotated : rotated.reverse()
}

/** Runs a subject until it is warm and answers how many calls fill a slice. */
async function warmUp(subject: Subject, { warmUp, slice }: Effort): Promise<number> {
  const until = performance.now() + warmUp
  let calls = 1
  let nanoseconds = await time(subject, calls)
  while (performance.now() < until) {
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

async function time(subject: Subject, calls: number): Promise<number> {
  const start = performance.now()
  await subject.run(calls)
  return Math.max((performance.now() - start) * 1e6, 1) / calls
}
