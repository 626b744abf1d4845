import type { Resolver } from 'node:dns/promises'
import { type Backoff, exponential } from '@msx/retry'
import { schedule } from '../clock.js'
import type { EndpointInit } from '../endpoint.js'
import type { Source, SourceSink } from '../source.js'
import type { DnsSettings } from './options.js'

/** What a round of questions has found. */
export interface Found {
  readonly endpoints: readonly EndpointInit[]
  /** How long it is good for, ms. */
  readonly ttl: number
}

/** Asks for one service; one is made for each watch, so that it can remember. Rejects when nothing certain is known. */
export type Lookup = (name: string) => Promise<Found>

/** A source that asks again and again, by the TTL of what it hears. One question at a time per watch. */
export function pollingSource(settings: DnsSettings, createLookup: (resolver: Resolver) => Lookup): Source {
  const polls = new Map<string, Set<Poll>>()

  return {
    watch(service, sink, signal) {
      if (signal.aborted) return

      const resolver = settings.createResolver()
      const lookup = createLookup(resolver)
      const name = settings.name(service)
      const poll = new Poll(() => lookup(name), sink, settings)

      const watching = polls.get(service) ?? new Set()
      polls.set(service, watching.add(poll))
      const end = () => {
        poll.end()
        resolver.cancel()
        watching.delete(poll)
        if (watching.size === 0) polls.delete(service)
      }
      signal.addEventListener('abort', end, { once: true })
      poll.start()
    },

    refresh(service) {
      for (const poll of polls.get(service) ?? []) poll.hurry()
    },
  }
}

/** The rounds of one watch. */
class Poll {
  readonly #ask: () => Promise<Found>
  readonly #sink: SourceSink
  readonly #settings: DnsSettings
  readonly #backoff: Backoff
  #failures = 0
  #asked = 0
  #due = Number.NEGATIVE_INFINITY
  #cancelNext: () => void = () => {}
  #ended = false

  constructor(ask: () => Promise<Found>, sink: SourceSink, settings: DnsSettings) {
    this.#ask = ask
    this.#sink = sink
    this.#settings = settings
    const { minInterval, maxInterval } = settings
    this.#backoff = exponential({ base: Math.min(1_000, minInterval), max: maxInterval, jitter: 'equal' })
  }

  start(): void {
    void this.#round()
  }

  end(): void {
    this.#ended = true
    this.#cancelNext()
  }

  /** Asks early, but not before the shortest interval is over. */
  hurry(): void {
    const { clock, minInterval } = this.#settings
    // While a question is out, the time that was due is over.
    const earliest = Math.max(clock.now(), this.#asked + minInterval)
    if (earliest < this.#due) this.#plan(earliest - clock.now())
  }

  async #round(): Promise<void> {
    const { clock, random } = this.#settings
    this.#asked = clock.now()

    let found: Found
    try {
      found = await this.#ask()
    } catch (error) {
      if (this.#ended) return

      this.#plan(this.#backoff(this.#failures, 0, random))
      this.#failures += 1
      this.#sink.fail(error as Error)
      return
    }
    if (this.#ended) return

    this.#failures = 0
    this.#plan(pauseAfter(found.ttl, this.#settings))
    this.#sink.update(found.endpoints)
  }

  #plan(ms: number): void {
    const { clock } = this.#settings
    this.#cancelNext()
    this.#due = clock.now() + ms
    this.#cancelNext = schedule(clock, ms, () => void this.#round())
  }
}

/** Asks again before the TTL is over, so that nobody works with what has expired, and not in step with others. */
function pauseAfter(ttl: number, { minInterval, maxInterval, random }: DnsSettings): number {
  const pause = Math.min(Math.max(0.8 * ttl, minInterval), maxInterval)
  return pause * (0.9 + 0.2 * random())
}
