/** One way of doing the work that a comparison is about. */
export interface Subject {
  readonly name: string
  /** Does the work `calls` times and throws when the work was not done. Only this is timed. */
  run(calls: number): Promise<void>
}

/** A subject to compare with. Without a target or a goal it is there for information. */
export interface Peer extends Subject {
  /** Ours over this one must stay at or below it. */
  readonly target?: number | undefined
  /** Ours over this one should come down to it some day; missing it fails nothing. */
  readonly goal?: number | undefined
}

/** Makes the calls one after the other, or so many at a time. */
export type Pattern = 'sequential' | { readonly batch: number }

export function patternName(pattern: Pattern): string {
  return pattern === 'sequential' ? 'one after the other' : `${pattern.batch} at a time`
}

/**
 * So often the event loop turns between calls that follow each other at once. In a program it turns at least as often;
 * without it, timers would never be looked at and whatever is held weakly would never be let go.
 */
const CALLS_PER_TURN = 1_000

/**
 * A subject that calls `call` again and again and holds every answer against `expected`, so that no call can be
 * optimised away and none can be faster by doing something else.
 */
export function calling<T>(name: string, pattern: Pattern, call: () => Promise<T>, expected: T): Subject {
  const loop = pattern === 'sequential' ? compile(ONE_BY_ONE) : compile(BATCHES)
  const batch = pattern === 'sequential' ? 1 : pattern.batch

  return {
    name,
    async run(calls) {
      const right = await loop(call as () => Promise<unknown>, expected, calls, batch, turnOfEventLoop)
      if (right !== calls) throw new Error(`${name}: ${calls - right} of ${calls} calls did not answer ${expected}`)
    },
  }
}

type Loop = (
  call: () => Promise<unknown>,
  expected: unknown,
  calls: number,
  batch: number,
  turn: () => Promise<void>,
) => Promise<number>

const ONE_BY_ONE = `
  let right = 0
  for (let i = 1; i <= calls; i++) {
    if (await call() === expected) right++
    if (i % ${CALLS_PER_TURN} === 0) await turn()
  }
  return right`

const BATCHES = `
  let right = 0
  for (let done = 0; done < calls; done += batch) {
    const running = []
    for (let i = Math.min(batch, calls - done); i > 0; i--) running.push(call())
    for (const answer of await Promise.all(running)) if (answer === expected) right++
    if (done % ${CALLS_PER_TURN} === 0) await turn()
  }
  return right`

function turnOfEventLoop(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

let compiled = 0

/**
 * Each subject gets a loop of its own from the same text. V8 keeps what it has learned of a call site with the code, so
 * one loop for all would make the second subject slower than the first, whoever comes second.
 */
function compile(body: string): Loop {
  compiled += 1
  const parameters = ['call', 'expected', 'calls', 'batch', 'turn']
  return new Function(`return async function loop${compiled}(${parameters}) {${body}\n}`)() as Loop
}
