import { functionOption, wrong } from './validate.js'

/** Typed listeners. One that throws, or returns a promise that rejects, does not disturb the call that emits. */
export class Emitter<Events extends object> {
  readonly #listeners: ReadonlyMap<keyof Events, Set<{ readonly run: (event: never) => unknown }>>

  constructor(...names: readonly (keyof Events & string)[]) {
    this.#listeners = new Map(names.map((name) => [name, new Set()]))
  }

  /** Returns what removes the listener. */
  on<E extends keyof Events>(event: E, listener: (event: Events[E]) => unknown): () => void {
    const listeners = this.#listeners.get(event)
    if (listeners === undefined) throw wrong('on: event', event, `one of ${[...this.#listeners.keys()].join(', ')}`)

    // An object of its own, so that the same function can be added twice and removed once.
    const entry = { run: functionOption('on: listener', listener) }
    listeners.add(entry)
    return () => {
      listeners.delete(entry)
    }
  }

  /** Those of an event, now and later. */
  listeners(event: keyof Events): ReadonlySet<unknown> {
    return this.#listeners.get(event)!
  }

  emit<E extends keyof Events>(event: E, payload: Events[E]): void {
    for (const { run } of this.#listeners.get(event)!) isolated(run, payload as never)
  }
}

/** Calls `run` for its effect alone: neither a throw nor a rejection gets out. */
export function isolated<A>(run: (argument: A) => unknown, argument: A): void {
  try {
    Promise.resolve(run(argument)).catch(() => {})
  } catch {
    // Isolated on purpose.
  }
}
