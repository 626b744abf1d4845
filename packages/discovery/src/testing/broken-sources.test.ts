import { describe, expect, it } from 'vitest'
import type { EndpointInit } from '../endpoint.js'
import type { Source, SourceSink } from '../source.js'
import { type Places, type SourceBench, sourceContract } from './source-contract.js'

interface Watcher {
  readonly service: string
  readonly sink: SourceSink
  readonly signal: AbortSignal
}

/** A registry in memory that does everything right, but for what a test breaks. */
class Memory implements SourceBench {
  readonly places: Record<string, readonly EndpointInit[]>
  readonly watchers: Watcher[] = []
  away = false
  readonly source: Source = { watch: (service, sink, signal) => this.watch({ service, sink, signal }) }

  constructor(places: Places) {
    this.places = { ...places }
  }

  watch(watcher: Watcher): void {
    this.watchers.push(watcher)
    this.tell(watcher)
  }

  tell({ service, sink, signal }: Watcher): void {
    if (signal.aborted) return
    if (this.away) sink.fail(new Error('away'))
    else sink.update(this.endpoints(service))
  }

  endpoints(service: string): readonly EndpointInit[] {
    return this.places[service] ?? []
  }

  tellAll(): void {
    for (const watcher of this.watchers) this.tell(watcher)
  }

  set(service: string, places: Places[string]): void {
    this.places[service] = places
    if (!this.away) this.tellAll()
  }

  async outage(): Promise<() => void> {
    this.away = true
    this.tellAll()
    return () => this.recover()
  }

  recover(): void {
    this.away = false
    this.tellAll()
  }
}

const failing = async (Broken: new (places: Places) => SourceBench) => {
  const cases = sourceContract((places) => new Broken(places), { changes: true, outages: true, patience: 1_000 })
  const results = await Promise.allSettled(cases.map(({ run }) => run()))
  return cases.filter((_, index) => results[index]?.status === 'rejected').map(({ name }) => name)
}

describe('sourceContract', () => {
  it('is passed by a source that does everything right', async () => {
    expect(await failing(Memory)).toEqual([])
  })

  it.each<[string, string, new (places: Places) => SourceBench]>([
    [
      'one that takes endpoints away in an outage',
      'tells that it cannot ask, and takes no endpoint away for that',
      class extends Memory {
        override tell(watcher: Watcher) {
          if (this.away) watcher.sink.update([])
          super.tell(watcher)
        }
      },
    ],
    [
      'one that tells instances one by one',
      'tells the whole set of a service at once',
      class extends Memory {
        override tell(watcher: Watcher) {
          if (!this.away) watcher.sink.update(this.endpoints(watcher.service).slice(0, 1))
          super.tell(watcher)
        }
      },
    ],
    [
      'one that has the same name for all',
      'tells endpoints that can be connected to, each by a name of its own',
      class extends Memory {
        override endpoints(service: string) {
          return super.endpoints(service).map((endpoint) => ({ ...endpoint, id: service }))
        }
      },
    ],
    [
      'one that counts its instances to name them',
      'keeps the name of an instance while others come and go',
      class extends Memory {
        override endpoints(service: string) {
          return super.endpoints(service).map((endpoint, index) => ({ ...endpoint, id: `${service}-${index}` }))
        }
      },
    ],
    [
      'one that goes on after the abort',
      'goes on for one watch when another of the same service ends',
      class extends Memory {
        override tell({ service, sink }: Watcher) {
          super.tell({ service, sink, signal: new AbortController().signal })
        }
      },
    ],
    [
      'one that is late, and does not look whether anybody still listens',
      'says nothing more when its signal has aborted',
      class extends Memory {
        override watch({ service, sink }: Watcher) {
          setTimeout(() => super.watch({ service, sink, signal: new AbortController().signal }), 20)
        }
      },
    ],
    [
      'one that has nobody to tell of when an outage is on',
      'fails for a watch that begins in an outage, and answers it afterwards',
      class extends Memory {
        override tell(watcher: Watcher) {
          if (!this.away) super.tell(watcher)
          else if (this.watchers.length === 1) watcher.sink.update([])
        }
      },
    ],
    [
      'one that throws at hints',
      'takes hints, also about services that nobody watches',
      class extends Memory {
        override readonly source: Source = {
          watch: (service, sink, signal) => this.watch({ service, sink, signal }),
          refresh: () => {
            throw new Error('unknown service')
          },
        }
      },
    ],
    [
      'one that never tells',
      'answers for a service that nobody knows: with none, or with a failure',
      class extends Memory {
        override tell() {}
      },
    ],
    [
      'one that tells once',
      'tells of an instance that comes',
      class extends Memory {
        override tellAll() {}
      },
    ],
    [
      'one that is not heard again',
      'tells again what it knows when it can ask again, changed or not',
      class extends Memory {
        override recover() {
          this.away = false
        }
      },
    ],
    [
      'one that gives every service the same',
      'keeps services apart',
      class extends Memory {
        override endpoints() {
          return Object.values(this.places)[0] ?? []
        }
      },
    ],
  ])('is failed by %s', async (_, name, Broken) => {
    expect(await failing(Broken)).toContain(name)
  })

  it('says what a bench lacks', async () => {
    const cases = sourceContract((places) => new Memory(places).source, { changes: true, outages: true })
    const comes = cases.find(({ name }) => name === 'tells of an instance that comes')
    const outage = cases.find(({ name }) => name === 'is quiet in an outage when its signal has aborted')

    await expect(comes?.run()).rejects.toThrow('a function `set`')
    await expect(outage?.run()).rejects.toThrow('a function `outage`')
  })
})
