import type { Clock } from './clock.js'
import type { EndpointInit } from './endpoint.js'
import type { Source, SourceSink } from './source.js'

/** Time that passes only when a test says so. */
export class VirtualClock implements Clock {
  #now = 1_000
  readonly #timers = new Set<{ at: number; run: () => void }>()

  now(): number {
    return this.#now
  }

  after(ms: number, run: () => void): () => void {
    const timer = { at: this.#now + ms, run }
    this.#timers.add(timer)
    return () => void this.#timers.delete(timer)
  }

  get pending(): number {
    return this.#timers.size
  }

  advance(ms: number): void {
    const end = this.#now + ms
    while (true) {
      const due = [...this.#timers].filter((timer) => timer.at <= end).sort((a, b) => a.at - b.at)[0]
      if (due === undefined) break

      this.#timers.delete(due)
      this.#now = due.at
      due.run()
    }
    this.#now = end
  }
}

/** A source that says what a test makes it say. */
export class ScriptedSource implements Source {
  readonly watches: { service: string; sink: SourceSink; signal: AbortSignal }[] = []
  readonly refreshed: string[] = []

  watch(service: string, sink: SourceSink, signal: AbortSignal): void {
    this.watches.push({ service, sink, signal })
  }

  refresh(service: string): void {
    this.refreshed.push(service)
  }

  /** The sink of the first watch: most tests have one service. */
  get sink(): SourceSink {
    const watch = this.watches[0]
    if (watch === undefined) throw new Error('Nothing is watched yet')
    return watch.sink
  }
}

/** Endpoints a, b, c … on ports 1, 2, 3 …, or with other fields. */
export function endpoint(id: string, fields: Partial<EndpointInit> = {}): EndpointInit {
  return { id, host: '10.0.0.1', port: id.charCodeAt(0), ...fields }
}

/** Numbers from 0 to 1 that are the same in every run (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
