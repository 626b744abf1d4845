import type { EndpointInit } from '../endpoint.js'
import { wrongOption } from '../internal/options.js'
import type { Source, SourceSink } from '../source.js'

/**
 * Several sources in the order in which they are trusted: the first that answers and lists somebody is believed. A later
 * one is watched only while all before it fail or list nobody, and is let go when one of them is back, so that the
 * second choice costs nothing in good times.
 *
 * While nobody can be believed, what was known stays in use: a service counts as empty only when every source has
 * answered and lists nobody.
 *
 * Throws a TypeError for anything that is no source.
 *
 * @example
 * ```ts
 * const source = fallbackSource(consul(), dnsSrv({ name: (service) => `_http._tcp.${service}.internal` }))
 * ```
 */
export function fallbackSource(...sources: readonly Source[]): Source {
  if (sources.length === 0) throw wrongOption('sources', sources, 'at least one source')
  for (const [index, source] of sources.entries()) {
    if (typeof source?.watch !== 'function') throw wrongOption(`sources[${index}]`, source, 'a Source')
  }

  const chains = new Map<string, Set<Chain>>()

  return {
    watch(service, sink, signal) {
      if (signal.aborted) return

      const chain = new Chain(service, sources, sink)
      const watching = chains.get(service) ?? new Set()
      chains.set(service, watching.add(chain))

      const end = () => {
        chain.end()
        watching.delete(chain)
        if (watching.size === 0) chains.delete(service)
      }
      signal.addEventListener('abort', end, { once: true })
      chain.start()
    },

    refresh(service) {
      for (const chain of chains.get(service) ?? []) chain.refresh()
    },
  }
}

/** What a source has said last. */
type Word =
  | { readonly said: 'nothing' }
  | { readonly said: 'endpoints'; readonly endpoints: readonly EndpointInit[] }
  | { readonly said: 'failure'; readonly error: Error }

/** What the words of the watched sources, most trusted first, amount to. */
type Verdict =
  | { readonly do: 'believe'; readonly index: number; readonly endpoints: readonly EndpointInit[] }
  | { readonly do: 'ask-next' }
  | { readonly do: 'wait' }
  | { readonly do: 'fail'; readonly error: Error }
  | { readonly do: 'empty' }

/** Decides what follows from the words of the sources that are watched, of `total` there are. */
function judge(words: readonly Word[], total: number): Verdict {
  for (const [index, word] of words.entries()) {
    if (word.said === 'endpoints' && word.endpoints.length > 0)
      return { do: 'believe', index, endpoints: word.endpoints }
  }
  if (words.some((word) => word.said === 'nothing')) return { do: 'wait' }
  if (words.length < total) return { do: 'ask-next' }

  // "Nobody" from one source proves nothing while another cannot be asked.
  const failure = words.find((word) => word.said === 'failure')
  return failure === undefined ? { do: 'empty' } : { do: 'fail', error: failure.error }
}

/** One source of a chain that is being watched. */
interface Link {
  readonly source: Source
  readonly watch: AbortController
  word: Word
}

/** The watches of one service, one per source that had to be asked. */
class Chain {
  readonly #service: string
  readonly #sources: readonly Source[]
  readonly #sink: SourceSink
  readonly #links: Link[] = []
  #ended = false

  constructor(service: string, sources: readonly Source[], sink: SourceSink) {
    this.#service = service
    this.#sources = sources
    this.#sink = sink
  }

  start(): void {
    this.#askNext()
  }

  end(): void {
    this.#ended = true
    this.#letGo(0)
  }

  refresh(): void {
    for (const { source } of [...this.#links]) source.refresh?.(this.#service)
  }

  #askNext(): void {
    const source = this.#sources[this.#links.length]!
    const link: Link = { source, watch: new AbortController(), word: { said: 'nothing' } }
    this.#links.push(link)

    const { signal } = link.watch
    const hear = (word: Word) => {
      if (signal.aborted) return
      link.word = word
      this.#act()
    }
    const fail = (reason: unknown) => {
      const error =
        reason instanceof Error ? reason : new Error(`A source failed with ${String(reason)}`, { cause: reason })
      hear({ said: 'failure', error })
    }

    try {
      source.watch(this.#service, { update: (endpoints) => hear({ said: 'endpoints', endpoints }), fail }, signal)
    } catch (error) {
      fail(error)
    }
  }

  #act(): void {
    if (this.#ended) return

    const verdict = judge(
      this.#links.map(({ word }) => word),
      this.#sources.length,
    )
    switch (verdict.do) {
      case 'wait':
        break
      case 'ask-next':
        this.#askNext()
        break
      case 'fail':
        this.#sink.fail(verdict.error)
        break
      case 'empty':
        this.#sink.update([])
        break
      case 'believe':
        this.#letGo(verdict.index + 1)
        this.#sink.update(verdict.endpoints)
    }
  }

  /** Ends the watches from this place on. */
  #letGo(from: number): void {
    for (const { watch } of this.#links.splice(from)) watch.abort()
  }
}
