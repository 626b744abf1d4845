import { wrong } from './validate.js'

/** Typed listeners. One that throws, or returns a promise that rejects, does not disturb the call that emits. */
export class Emitter<Events extends object> {
  readonly #listeners: { readonly [E in keyof Events]: Set<{ readonly run: (event: Events[E]) => unknown }> }

  constructor(names: readonly (keyof Events & string)[]) {
    this.#listeners = Object.fromEntries(names.map((name) => [name, new Set()])) as never
  }

  /** Returns what removes the listener. */
  on<E extends keyof Events>(event: E, listener: (event: Events[E]) => unknown): () => void {
    const listeners = Object.hasOwn(this.#listeners, event) ? this.#listeners[event] : undefined
    if (listeners === undefined) throw wrong('on: event', event, `one of ${Object.keys(this.#listeners).join(', ')}`)
    if (typeof listener !== 'function') throw wrong('on: listener', listener, 'a function')

    // An object of its own, so that the same function can be added twice and removed once.
    const entry = { run: listener }
    listeners.add(entry)
    return () => {
      listeners.delete(entry)
    }
  }

  hasListeners(event: keyof Events): boolean {
    return this.#listeners[event].size > 0
  }

  emit<E extends keyof Events>(event: E, payload: Events[E]): void {
    for (const { run } of this.#listeners[event]) isolated(run, payload)
  }
}

/** Calls `run` for its effect alone: neither a throw nor a rejection gets out. */
export function isolated<A>(run: (argument: A) => unknown, argument: A): void {
  try {
    Promise.resolve(run(argument)).catch(ignore)
  } catch {
    // Isolated on purpose.
  }
}

function ignore(): void {}
