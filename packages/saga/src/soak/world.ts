import {
  type Definition,
  type EventType,
  eventType,
  NonRetryableError,
  type Queryable,
  StepRejectedError,
  saga,
} from '../index.js'
import type { CompensateContext, StepContext } from '../step.js'

/*
 * What the sagas of these tests work on: a service that knows the keys of its requests, and tables that transactional
 * steps write. Nothing in it asks the engine anything, so what is left in it at the end is a witness.
 */

/** What becomes of the calls of one step. */
export type Fate =
  | 'works'
  /** The first call fails before it does anything. */
  | 'flaky'
  /** The first call works, and says that it failed. */
  | 'answer lost'
  /** The first call works, and never answers. */
  | 'hangs'
  /** Nothing of these is ever applied. */
  | 'refused'
  | 'fails'
  /** It works, and then fails for good. */
  | 'applied, then fails'
  /** Fails for good until somebody repairs it. */
  | 'broken'

export interface Effect {
  readonly name: string
  readonly fate: Fate
  /** Of its compensation. */
  readonly undo: 'works' | 'flaky' | 'broken'
}

export type Part =
  | {
      readonly kind: 'step' | 'txStep' | 'pivot' | 'txPivot' | 'wait' | 'late' | 'sleep' | 'skipped'
      readonly name: string
    }
  | { readonly kind: 'child'; readonly name: string; readonly steps: readonly string[] }
  | {
      readonly kind: 'parallel'
      readonly name: string
      readonly of: readonly { readonly kind: 'step' | 'txStep' | 'wait' | 'child'; readonly name: string }[]
      readonly concurrency: number
    }

export const FATAL: ReadonlySet<Fate> = new Set(['refused', 'fails', 'applied, then fails'])

type Context = StepContext<Input, unknown>
type UndoContext = CompensateContext<Input, unknown, unknown>

/** How steps reach the world: a test may let requests take their time, or get lost. */
export interface Hands {
  do(c: Context, name: string): unknown
  undo(c: UndoContext, name: string): unknown
  txDo(tx: Queryable, c: Context, name: string): unknown
  txUndo(tx: Queryable, c: UndoContext, name: string): unknown
}

export interface Input {
  readonly order: string
}

export const happened: EventType<{ readonly order: string }> = eventType<{ readonly order: string }>('happened')

/** The names of the effects of these parts that are undone when the saga is, and of those that never are. */
export function effectsOf(parts: readonly Part[]): { readonly undoable: string[]; readonly final: string[] } {
  const undoable: string[] = []
  const final: string[] = []
  let into = undoable
  for (const part of parts) {
    if (part.kind === 'pivot' || part.kind === 'txPivot') into = final
    if (part.kind === 'child') into.push(...part.steps)
    else if (part.kind === 'parallel')
      into.push(...part.of.filter(({ kind }) => kind !== 'wait').map(({ name }) => name))
    else if (['step', 'txStep', 'pivot', 'txPivot'].includes(part.kind)) into.push(part.name)
  }
  return { undoable, final }
}

/** The waits of these parts, each of which somebody must send an event. */
export function waitsOf(parts: readonly Part[]): string[] {
  return parts.flatMap((part) =>
    part.kind === 'wait'
      ? [part.name]
      : part.kind === 'parallel'
        ? part.of.filter(({ kind }) => kind === 'wait').map(({ name }) => name)
        : [],
  )
}

export interface Pace {
  /** Milliseconds. */
  readonly timeout: number
  readonly backoff: number
  readonly sleep: number
  readonly late: number
}

/** A definition of these parts. All steps are tried without end: only what an effect's fate says ends a saga. */
export function define(
  name: string,
  parts: readonly Part[],
  hands: Hands,
  pace: Pace,
): Definition<Input, unknown, string> {
  const retry = { attempts: Infinity, backoff: () => pace.backoff }
  const forward = { retry, timeout: pace.timeout }
  const key = (part: string) => ({ key: ({ input }: Context) => `${input.order} ${part}` })
  const undoing = (part: string) => ({
    ...forward,
    undoRetry: retry,
    undoTimeout: pace.timeout,
    compensate: (c: UndoContext) => hands.undo(c, part),
  })
  const txUndoing = (part: string) => ({
    ...undoing(part),
    compensate: (tx: Queryable, c: UndoContext) => hands.txUndo(tx, c, part),
  })
  const childOf = (of: string, steps: readonly string[], undoable: boolean): Definition<Input, unknown, string> =>
    define(
      `${name}-${of}`,
      steps.map((step) => ({ kind: 'step', name: step })),
      undoable ? hands : hands,
      pace,
    )

  // biome-ignore lint/suspicious/noExplicitAny: the chain is built from data
  let chain: any = saga<Input>(name)
  let undoable = true
  for (const part of parts) {
    const at = part.name
    switch (part.kind) {
      case 'step':
        chain = chain.step(at, (c: Context) => hands.do(c, at), undoable ? undoing(at) : forward)
        break
      case 'txStep':
        chain = chain.txStep(
          at,
          (tx: Queryable, c: Context) => hands.txDo(tx, c, at),
          undoable ? txUndoing(at) : forward,
        )
        break
      case 'pivot':
        chain = chain.pivot(at, (c: Context) => hands.do(c, at), forward)
        undoable = false
        break
      case 'txPivot':
        chain = chain.txPivot(at, (tx: Queryable, c: Context) => hands.txDo(tx, c, at), forward)
        undoable = false
        break
      case 'sleep':
        chain = chain.sleep(at, pace.sleep)
        break
      case 'wait':
        chain = chain.waitFor(at, happened, key(at))
        break
      case 'late':
        chain = chain.waitFor(at, happened, { ...key(at), timeout: pace.late, onTimeout: 'continue' })
        break
      case 'skipped':
        chain = chain.when(() => false).step(at, (c: Context) => hands.do(c, at))
        break
      case 'child':
        chain = chain.child(at, childOf(at, part.steps, undoable), ({ input }: Context) => input)
        break
      case 'parallel': {
        const { of, concurrency } = part
        const mayUndo = undoable
        // biome-ignore lint/suspicious/noExplicitAny: the chain is built from data
        const branches = (b: any): Record<string, unknown> =>
          Object.fromEntries(
            of.map(({ kind, name: branch }) => {
              if (kind === 'wait') return [branch, b.waitFor(happened, key(branch))]
              if (kind === 'child')
                return [`${branch}-child`, b.child(childOf(branch, [branch], mayUndo), ({ input }: Context) => input)]
              if (kind === 'txStep')
                return [
                  branch,
                  b.txStep(
                    (tx: Queryable, c: Context) => hands.txDo(tx, c, branch),
                    mayUndo ? txUndoing(branch) : forward,
                  ),
                ]
              return [branch, b.step((c: Context) => hands.do(c, branch), mayUndo ? undoing(branch) : forward)]
            }),
          )
        chain = chain.parallel(branches, { concurrency })
      }
    }
  }
  return chain.returns(() => 'done')
}

/** The service: it applies a key once, and after its undoing never again, whatever is still on its way. */
export class World {
  readonly #table: string
  readonly #fates = new Map<string, Effect>()
  readonly #calls = new Map<string, number>()
  readonly #keys = new Map<string, 'applied' | 'undone'>()
  /** By order and step: how often it is applied now. */
  readonly #applied = new Map<string, number>()
  readonly #repaired = new Set<string>()
  /** What must never happen, and did. */
  readonly problems: string[] = []

  /** `table` is what transactional steps write, where there is a database. */
  constructor(table = 'effect') {
    this.#table = table
  }

  /** Decides what becomes of the calls of an order's steps; of others they work. */
  fate(order: string, effects: readonly Effect[]): void {
    for (const effect of effects) this.#fates.set(`${order} ${effect.name}`, effect)
  }

  /** From now on all that was broken for this order works. */
  repair(order: string): void {
    this.#repaired.add(order)
  }

  /** Whether this step will never be applied. */
  isHopeless(order: string, name: string): boolean {
    const fate = this.#fates.get(`${order} ${name}`)?.fate
    return fate !== undefined && FATAL.has(fate)
  }

  /** The steps of this order that are applied now. */
  appliedOf(order: string): string[] {
    return [...this.#applied]
      .filter(([at, times]) => times > 0 && at.startsWith(`${order} `))
      .map(([at]) => at.slice(order.length + 1))
  }

  /** What the call is to come to; nothing is applied yet. */
  #fateOf(order: string, name: string, undo: boolean): Fate | 'works' {
    const at = `${order} ${name}`
    const calls = (this.#calls.get(`${at} ${undo}`) ?? 0) + 1
    this.#calls.set(`${at} ${undo}`, calls)
    const effect = this.#fates.get(at)
    const fate = (undo ? effect?.undo : effect?.fate) ?? 'works'
    if (fate === 'broken') return this.#repaired.has(order) ? 'works' : 'broken'
    if (fate === 'flaky' || fate === 'answer lost' || fate === 'hangs') return calls === 1 ? fate : 'works'
    return fate
  }

  /** A request to apply a step. Rejects, resolves or never answers, as its fate has it. */
  do(key: string, order: string, name: string): Promise<string> {
    const fate = this.#fateOf(order, name, false)
    refuse(fate, name)

    const known = this.#keys.get(key)
    if (known === 'undone') return Promise.reject(new StepRejectedError(`${name} was undone already`))
    if (known === undefined) {
      this.#keys.set(key, 'applied')
      this.#count(order, name, 1)
    }
    if (fate === 'applied, then fails') throw new NonRetryableError(`${name} failed after it was applied`)
    if (fate === 'answer lost') throw new Error(`the answer of ${name} was lost`)
    return fate === 'hangs' ? new Promise(() => undefined) : Promise.resolve(name)
  }

  undo(forwardKey: string, order: string, name: string): void {
    refuse(this.#fateOf(order, name, true), `the undoing of ${name}`)

    if (this.#keys.get(forwardKey) === 'applied') this.#count(order, name, -1)
    this.#keys.set(forwardKey, 'undone')
  }

  /** Says whether a transactional step is to fail; what it writes counts once its transaction has committed. */
  async tx(tx: Queryable, order: string, name: string, undo: boolean): Promise<string> {
    refuse(this.#fateOf(order, name, undo), name)
    await tx.query(`INSERT INTO ${this.#table} (saga, name, times) VALUES ($1, $2, $3)`, [order, name, undo ? -1 : 1])
    return name
  }

  #count(order: string, name: string, by: number): void {
    const at = `${order} ${name}`
    const times = (this.#applied.get(at) ?? 0) + by
    this.#applied.set(at, times)
    if (times > 1) this.problems.push(`${name} of ${order} is applied ${times} times`)
    if (times < 0) this.problems.push(`${name} of ${order} was undone more often than it was applied`)
  }

  /** Transactions of a store without a database: what they write is there when they end well, all of it. */
  readonly transaction = async <T>(run: (tx: Queryable) => Promise<T>): Promise<T> => {
    const written: unknown[][] = []
    const answer = await run({
      async query(_text, values = []) {
        written.push(values)
        return { rows: [] }
      },
    })
    for (const [order, name, times] of written) this.#count(String(order), String(name), Number(times))
    return answer
  }

  /** The same in a database: reads the tables that transactional steps have written. */
  async readFrom(database: Queryable): Promise<void> {
    const { rows } = await database.query(
      `SELECT saga, name, sum(times)::int AS times FROM ${this.#table} GROUP BY saga, name`,
    )
    for (const { saga: order, name, times } of rows) {
      const at = `${order} ${name}`
      this.#count(order, name, times - (this.#tables.get(at) ?? 0))
      this.#tables.set(at, times)
    }
  }
  readonly #tables = new Map<string, number>()
}

function refuse(fate: Fate, what: string): void {
  if (fate === 'refused') throw new StepRejectedError(`${what} was refused`)
  if (fate === 'fails' || fate === 'broken') throw new NonRetryableError(`${what} failed for good`)
  if (fate === 'flaky') throw new Error(`${what} failed`)
}
