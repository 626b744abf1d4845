import type { Flow } from './flow.js'
import type { Place } from './place.js'

/** How much a comparison may take. */
export interface Plan {
  /** How often each subject has its turn before any counts. */
  readonly warmUp: number
  /** How often each subject has its turn after that. */
  readonly rounds: number
  /** How long a turn is: ms of publishing, or messages to consume. */
  readonly turn: number
  /** No round begins later than so many ms after the first one, however few there were. */
  readonly limit: number
}

/** What a subject did in each round, by its name. */
export type Flows<Name extends string> = ReadonlyMap<Name, readonly Flow[]>

/**
 * Opens every subject, then lets each have its turn in every round, each round beginning with another one: what else
 * the machine does, and what the broker is still busy with, falls on all of them alike.
 */
export async function inTurns<Name extends string, T extends { close(): Promise<void> }>(
  subjects: Readonly<Record<Name, (place: Place) => Promise<T>>>,
  place: Place,
  { warmUp, rounds, limit }: Plan,
  turn: (subject: T) => Promise<Flow>,
): Promise<Flows<Name>> {
  const opened: [Name, T][] = []
  const flows = new Map<Name, Flow[]>()
  try {
    for (const name of Object.keys(subjects) as Name[]) {
      opened.push([name, await subjects[name](place)])
      flows.set(name, [])
    }
    const startedAt = performance.now()
    for (let round = 0; round < warmUp + rounds; round += 1) {
      if (round > warmUp && performance.now() - startedAt > limit) break
      for (const index of opened.keys()) {
        const [name, subject] = opened[(index + round) % opened.length]!
        globalThis.gc?.()
        const flow = await turn(subject)
        if (round >= warmUp) flows.get(name)!.push(flow)
      }
    }
  } finally {
    await Promise.all(opened.map(([, subject]) => subject.close()))
  }

  return flows
}
