/**
 * Waits for aborts with one event listener per signal, however many publishes share it: the eleventh listener on a
 * process-wide signal makes Node warn of a leak.
 */
export class Aborts {
  readonly #groups = new WeakMap<AbortSignal, { readonly runs: Set<() => void>; readonly listener: () => void }>()

  /** Calls `run` when the signal aborts, until what is returned is called. */
  on(signal: AbortSignal, run: () => void): () => void {
    const { runs, listener } = this.#groups.get(signal) ?? this.#listen(signal)
    runs.add(run)

    return () => {
      if (!runs.delete(run) || runs.size > 0) return
      this.#groups.delete(signal)
      signal.removeEventListener('abort', listener)
    }
  }

  #listen(signal: AbortSignal): { readonly runs: Set<() => void>; readonly listener: () => void } {
    const runs = new Set<() => void>()
    const listener = (): void => {
      for (const run of [...runs]) run()
    }
    const group = { runs, listener }

    this.#groups.set(signal, group)
    signal.addEventListener('abort', listener, { once: true })
    return group
  }
}
