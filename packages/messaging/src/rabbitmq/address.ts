import { refuse } from '../internal/check.js'
import { DEFAULT_HEARTBEAT, isAmqpUrl, type Settings } from './options.js'

/** Gives the next address to try. Begins with the first and, whatever happened to one, goes on to the next. */
export class Addresses {
  readonly #url: Settings['url']
  readonly #heartbeat: number | undefined
  #next = 0

  constructor({ url, heartbeat }: Settings) {
    this.#url = url
    this.#heartbeat = heartbeat
  }

  /** How many to try before there is no use in it. */
  get count(): number {
    return Array.isArray(this.#url) ? this.#url.length : 1
  }

  async next(): Promise<string> {
    if (typeof this.#url === 'function') {
      const url = await this.#url()
      if (!isAmqpUrl(url)) refuse('rabbitmq', 'url()', typeof url, 'a promise of an amqp: or amqps: URL')
      return withHeartbeat(url, this.#heartbeat)
    }

    const list = typeof this.#url === 'string' ? [this.#url] : this.#url
    return withHeartbeat(list[this.#next++ % list.length] as string, this.#heartbeat)
  }
}

/** The address for people: without user and password. */
export function labelOf(url: string): string {
  const { protocol, host, pathname } = new URL(url)

  return `${protocol}//${host}${pathname}`
}

function withHeartbeat(url: string, heartbeat: number | undefined): string {
  const parsed = new URL(url)
  if (heartbeat === undefined && parsed.searchParams.has('heartbeat')) return url

  parsed.searchParams.set('heartbeat', String(Math.ceil((heartbeat ?? DEFAULT_HEARTBEAT) / 1_000)))
  return parsed.href
}
