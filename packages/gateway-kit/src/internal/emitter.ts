/** Typed listeners. One that throws or rejects is reported as a process warning, and breaks neither the others nor the caller. */
export class Emitter<Events extends object> {
  readonly #listeners = new Map<keyof Events, Set<(event: never) => void>>()

  on<Name extends keyof Events>(name: Name, listener: (event: Events[Name]) => void): () => void {
    if (typeof listener !== 'function') throw new TypeError(`the listener of "${String(name)}" must be a function`)

    // A wrapper of its own, so that one function registered twice is two registrations, each with its own end.
    const registered = (event: Events[Name]) => listener(event)
    const listeners = this.#listeners.get(name) ?? new Set()
    this.#listeners.set(name, listeners.add(registered))
    return () => void listeners.delete(registered)
  }

  emit<Name extends keyof Events>(name: Name, event: Events[Name]): void {
    const listeners = this.#listeners.get(name) as Set<(event: Events[Name]) => void> | undefined
    for (const listener of [...(listeners ?? [])]) {
      const warn = (error: unknown): void => {
        const reason = error instanceof Error ? String(error) : typeof error
        process.emitWarning(`A listener of "${String(name)}" threw: ${reason}`, 'MsxListenerWarning')
      }
      try {
        const returned: unknown = listener(event)
        if (returned instanceof Promise) returned.catch(warn)
      } catch (error) {
        warn(error)
      }
    }
  }
}
