import type { EndpointInit } from './endpoint.js'

/** Where a source reports what it learns about one service. */
export interface SourceSink {
  /** The whole set, each time. Unusable entries are skipped one by one; a set equal to the last is no change. */
  update(endpoints: readonly EndpointInit[]): void
  /** The source could not be asked. What was known before stays in use, marked stale, until the next update. */
  fail(error: Error): void
}

/**
 * Where endpoints come from: a registry, DNS, a list. To write one, implement `watch`.
 *
 * @example
 * ```ts
 * const fromFile: Source = {
 *   watch(service, sink, signal) {
 *     const read = async () => sink.update(JSON.parse(await readFile(`${service}.json`, 'utf8')))
 *     const timer = setInterval(() => read().catch((error) => sink.fail(error)), 5_000)
 *     signal.addEventListener('abort', () => clearInterval(timer), { once: true })
 *   },
 * }
 * ```
 */
export interface Source {
  /**
   * Reports to `sink`, soon a first time and then on each change, until the signal aborts. Called once per service. A
   * throw counts as `sink.fail`; calls after the abort are ignored.
   */
  watch(service: string, sink: SourceSink, signal: AbortSignal): void
  /**
   * A hint that what is known of a service looks wrong (a request failed, or there was nobody to pick), at most once a
   * second and service. A source that polls may ask again early.
   */
  refresh?(service: string): void
}
