import type { Discovery } from '@msx/discovery'
import { HttpProblem, unavailable } from '@shop/platform'

/** One process of a service, by where it answers over HTTP. */
export interface Instance {
  readonly service: string
  readonly address: string
}

/** The services behind the gateway, asked as the operator that it stands for. */
export interface Services {
  readonly names: readonly string[]
  instances(service: string): Instance[]
  /** Asks one instance. Rejects when it does not answer in time. */
  ask(instance: Instance, path: string, init?: RequestInit): Promise<Response>
  /** The answers of all instances of all services that answer with 2xx, as JSON. */
  askAll<T>(path: string): Promise<T[]>
  /** The answer of the first instance of a service that answers at all, as it is. */
  forward(service: string, path: string, init?: RequestInit): Promise<Response>
}

const patience = 2_000

export function createServices(names: readonly string[], discovery: Discovery, token: string): Services {
  // From now on it is known where they are.
  for (const name of names) discovery.service(name)

  function instances(service: string): Instance[] {
    const { endpoints } = discovery.service(service).snapshot
    // A service that is called in another way says beside its address where it answers over HTTP.
    return endpoints.map(({ url, meta }) => ({ service, address: meta['http'] ?? url }))
  }

  function ask({ address }: Instance, path: string, init: RequestInit = {}): Promise<Response> {
    return fetch(address + path, {
      ...init,
      headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
      signal: AbortSignal.timeout(patience),
    })
  }

  return {
    names,
    instances,
    ask,

    async askAll<T>(path: string): Promise<T[]> {
      const answers = await Promise.all(
        names.flatMap(instances).map(async (instance): Promise<T[]> => {
          try {
            const response = await ask(instance, path)
            if (response.ok) return [(await response.json()) as T]
            await response.body?.cancel()
          } catch {
            // Who does not answer has nothing to say; that it is away is seen by its health.
          }
          return []
        }),
      )
      return answers.flat()
    },

    async forward(service, path, init) {
      if (!names.includes(service)) {
        throw new HttpProblem({
          status: 404,
          title: 'Not Found',
          detail: `there is no service '${service}'; expected one of ${names.join(', ')}`,
        })
      }

      for (const instance of instances(service)) {
        const response = await ask(instance, path, init).catch(() => undefined)
        if (response === undefined) continue

        const headers = new Headers()
        const type = response.headers.get('content-type')
        if (type !== null) headers.set('content-type', type)
        return new Response(response.body, { status: response.status, headers })
      }
      throw unavailable(service)
    },
  }
}
