import type { EndpointInit } from '../endpoint.js'
import { RegistryError } from '../errors.js'

/** What is read of an entry of `/v1/health/service/:service`; nothing of it is certain to be there. */
interface HealthEntry {
  readonly Node?: { readonly Node?: string; readonly Address?: string } | null
  readonly Service?: {
    readonly ID?: string
    readonly Address?: string
    readonly Port?: number
    readonly Tags?: readonly string[] | null
    readonly Meta?: Readonly<Record<string, string>> | null
    readonly Weights?: { readonly Passing?: number; readonly Warning?: number } | null
    readonly Locality?: { readonly Zone?: string } | null
  } | null
  readonly Checks?: readonly ({ readonly Status?: string } | null)[] | null
}

/**
 * Turns Consul's entries into endpoints, for one watch.
 *
 * Consul's ids are unique on a node only. Where two nodes use one, it is told apart by the node's name; and stays so, for
 * an instance must not change its name, and lose its connections, whenever its namesake comes or goes.
 */
export class Instances {
  readonly #tags: readonly string[]
  readonly #ambiguous = new Set<string>()

  /** @param tags An endpoint has all of them. Consul before 1.3 heeds only one, and none heeds upper and lower case. */
  constructor(tags: readonly string[]) {
    this.#tags = tags
  }

  /** Throws RegistryError for what is no list. Entries nobody could connect to are left for the discovery to report. */
  read(entries: unknown): EndpointInit[] {
    if (!Array.isArray(entries)) throw new RegistryError('Consul answered with something else than a list of instances')

    const listed = (entries as (HealthEntry | null)[]).filter((entry) => {
      return this.#tags.every((tag) => listOf(entry?.Service?.Tags).includes(tag))
    })
    const seen = new Map<string, string>()
    for (const entry of listed) {
      const [id, node] = [entry?.Service?.ID ?? '', entry?.Node?.Node ?? '']
      if ((seen.get(id) ?? node) !== node) this.#ambiguous.add(id)
      seen.set(id, node)
    }
    return listed.map((entry) => this.#endpoint(entry ?? {}))
  }

  #endpoint({ Node, Service, Checks }: HealthEntry): EndpointInit {
    const id = Service?.ID
    const zone = Service?.Locality?.Zone || Service?.Meta?.['zone']
    const tags = listOf(Service?.Tags).filter((tag) => typeof tag === 'string')

    return {
      id: id !== undefined && this.#ambiguous.has(id) ? `${id}@${Node?.Node}` : id || undefined,
      host: Service?.Address || Node?.Address || '',
      port: Service?.Port ?? 0,
      weight: weightOf(Service?.Weights, Checks),
      ...(typeof zone === 'string' && zone !== '' && { zone }),
      tags: tags.length === 0 ? undefined : tags,
      meta: typeof Service?.Meta === 'object' ? (Service.Meta ?? undefined) : undefined,
    }
  }
}

type Weights = NonNullable<HealthEntry['Service']>['Weights']

/** The worst check decides. Nobody is sent to an instance that is critical while there is another. */
function weightOf(weights: Weights, checks: HealthEntry['Checks']): number {
  const statuses = listOf(checks).map((check) => check?.Status)
  if (statuses.includes('critical')) return 0
  if (statuses.includes('warning')) return weights?.Warning ?? 1
  return weights?.Passing ?? 1
}

/** One entry that is not as it should be must not take the others with it. */
function listOf<T>(value: readonly T[] | null | undefined): readonly T[] {
  return Array.isArray(value) ? value : []
}
