import type { Discovery } from '@msx/discovery'
import { type Middleware, problem } from '@msx/gateway-kit'
import { exposition } from '@shop/platform'
import type { Registry } from 'prom-client'
import { upstreams } from './routes.js'

/** What the gateway says of itself. */
export interface OwnAnswer {
  readonly status: number
  readonly type: string
  readonly text: string
}

/** The gateway's own health and metrics by their paths; undefined for any other path. */
export type OwnHealth = (path: string) => OwnAnswer | Promise<OwnAnswer> | undefined

export function ownHealth(discovery: Discovery, registry: Registry): OwnHealth {
  return (path) => {
    switch (path) {
      case '/health/live':
        return json(200, { status: 'ok', service: 'api-gateway' })
      case '/health/ready':
        return ready(discovery)
      case '/metrics':
        return exposition(registry).then(({ text, contentType }) => ({ status: 200, type: contentType, text }))
      default:
        return undefined
    }
  }
}

/** What a person or a machine asks to see whether the shop is well. Not limited and not logged. */
export function answerHealth(own: OwnHealth): Middleware {
  return function answerOwnHealth(req, res, next) {
    if (req.method !== 'GET' && req.method !== 'HEAD') return next()
    const answer = own((req.url ?? '').split('?', 1)[0] as string)
    if (answer === undefined) return next()

    Promise.resolve(answer).then(
      ({ status, type, text }) => res.writeHead(status, { 'content-type': type }).end(text),
      () => problem(res, 500),
    )
  }
}

/** Ready is who knows where to send what comes. That the services behind are well is for their own health to say. */
function ready(discovery: Discovery): OwnAnswer {
  const instances = Object.fromEntries(
    upstreams.map((name) => [name, discovery.service(name).snapshot.endpoints.length]),
  )
  const ok = Object.values(instances).every((count) => count > 0)
  return json(ok ? 200 : 503, { status: ok ? 'ok' : 'unavailable', service: 'api-gateway', instances })
}

function json(status: number, body: object): OwnAnswer {
  return { status, type: 'application/json', text: JSON.stringify(body) }
}
