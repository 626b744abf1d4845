type Listener = (event: never) => void

export interface Emitter<M> {
  /** Returns what ends the listening. */
  on<E extends keyof M>(name: E, listener: (event: M[E]) => void): () => void
  /** A listener that throws breaks neither the caller nor the other listeners. */
  emit<E extends keyof M>(name: E, event: M[E]): void
  /** Whether anybody listens: what nobody hears need not be made. */
  hears(name: keyof M): boolean
}

export function createEmitter<M>(names: readonly (keyof M)[]): Emitter<M> {
  const listeners = new Map<keyof M, readonly Listener[]>(names.map((name) => [name, []]))

  return {
    on(name, listener) {
      const known = listeners.get(name)
      if (known === undefined) throw new TypeError(`on: event must be one of ${names.join(', ')}, got ${String(name)}`)
      if (typeof listener !== 'function')
        throw new TypeError(`on: listener must be a function, got ${String(listener)}`)

      // A wrapper, so that the same function added twice is two listeners, each removed by its own call.
      const entry: Listener = (event) => listener(event)
      listeners.set(name, [...known, entry])
      return () => {
        listeners.set(name, listeners.get(name)?.filter((other) => other !== entry) ?? [])
      }
    },

    hears: (name) => (listeners.get(name)?.length ?? 0) > 0,

    emit(name, event) {
      for (const listener of listeners.get(name) ?? []) {
        try {
          const returned: unknown = listener(event as never)
          if (returned instanceof Promise) returned.catch(ignore)
        } catch {
          // An observer's failure is not the observed one's.
        }
      }
    },
  }
}

function ignore(): void {}
