import type { DeadLetter } from '@msx/messaging'

/** A message that no attempt could handle. */
export interface DeadLetterView {
  readonly id: string
  readonly type: string
  readonly data: unknown
  readonly time: string
  readonly source: string
  readonly attempts: number
  readonly code: string
  readonly reason: string
  readonly failedAt: string | undefined
  readonly redriven: number
}

/** The dead letters of a service's group. */
export interface DeadLetterBox {
  readonly group: string
  /** The first of them, and how many there are. */
  read(limit: number): Promise<{ readonly items: DeadLetterView[]; readonly count: number }>
  /** Those of these ids, or all of them, are handled again. Answers how many. */
  replay(ids: readonly string[] | undefined): Promise<number>
}

interface Redriving {
  redrive(
    group: string,
    options: { filter(letter: DeadLetter): boolean; dryRun?: boolean; limit?: number },
  ): Promise<{ readonly moved: number; readonly left: number }>
}

/** Looks at dead letters as a replay does that replays nothing, so the broker's own count and order are what is shown. */
export function deadLetterBox(bus: Redriving, group: string): DeadLetterBox {
  // Whoever looks holds the letters while it does: one at a time, or one would see none.
  let last: Promise<unknown> = Promise.resolve()
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    const result = last.then(work)
    last = result.catch(() => undefined)
    return result
  }

  return {
    group,

    read: (limit) =>
      inTurn(async () => {
        const items: DeadLetterView[] = []
        const { moved, left } = await bus.redrive(group, {
          dryRun: true,
          limit,
          filter(letter) {
            items.push(viewOf(letter))
            return true
          },
        })
        return { items, count: moved + left }
      }),

    replay: (ids) =>
      inTurn(async () => {
        const wanted = ids && new Set(ids)
        const { moved } = await bus.redrive(group, { filter: (letter) => wanted?.has(letter.id) ?? true })
        return moved
      }),
  }
}

function viewOf(letter: DeadLetter): DeadLetterView {
  const { id, type, data, time, source, attempts, code, reason, failedAt, redriven } = letter
  return {
    id,
    type,
    data,
    time: time.toISOString(),
    source,
    attempts,
    code,
    reason,
    failedAt: failedAt?.toISOString(),
    redriven,
  }
}
