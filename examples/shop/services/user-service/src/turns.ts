import { HttpProblem } from '@shop/platform'

export interface TurnOptions {
  /** How many tasks run at a time. */
  readonly atOnce: number
  /** How many more may wait for their turn. */
  readonly waiting: number
}

/** Runs a task when it is its turn, first come, first served. */
export type InTurn = <T>(task: () => Promise<T>) => Promise<T>

/**
 * Keeps work that takes a processor for long from taking all of them, and a queue of it from growing longer than
 * anybody waits: when the queue is full, a request is answered with 503 and when to come back.
 */
export function turns({ atOnce, waiting }: TurnOptions): InTurn {
  const queue: (() => void)[] = []
  let running = 0

  return async (task) => {
    if (running >= atOnce) {
      if (queue.length >= waiting) throw busy()
      await new Promise<void>((resolve) => queue.push(resolve))
    } else {
      running += 1
    }

    try {
      return await task()
    } finally {
      // The turn goes to the next in line, or is given back.
      const next = queue.shift()
      if (next === undefined) running -= 1
      else next()
    }
  }
}

function busy(): HttpProblem {
  return new HttpProblem({
    status: 503,
    title: 'Service Unavailable',
    detail: 'too many people sign up or in at this moment; try again in a second',
    headers: { 'retry-after': '1' },
  })
}
