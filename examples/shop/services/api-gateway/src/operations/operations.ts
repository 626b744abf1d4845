import { getRequestListener } from '@hono/node-server'
import type { Discovery } from '@msx/discovery'
import type { Clock, Middleware, TrustConfig } from '@msx/gateway-kit'
import {
  faultRequest,
  HttpProblem,
  type Instruments,
  type Log,
  limitBody,
  limitOf,
  notFound,
  readJson,
  type ServiceStatus,
  type SpanView,
} from '@shop/platform'
import { type Context, Hono } from 'hono'
import { accepts } from 'hono/accepts'
import type { OwnHealth } from '../health.js'
import { createAccess } from './access.js'
import { createBreaking } from './breaking.js'
import type { OperationsLink } from './link.js'
import { outboxViewer, type Told, viewerPolicy } from './outbox-viewer.js'
import { readDeadLetters, type Self, takePicture } from './picture.js'
import { createServices } from './services.js'
import { createStream } from './stream.js'
import { inOrder, linesOf } from './traces.js'

export interface OperationsOptions {
  /** The name of the gateway itself. */
  readonly name: string
  /** The gateway's own health and metrics. */
  readonly own: OwnHealth
  /** Of the services behind it. */
  readonly services: readonly string[]
  readonly discovery: Discovery
  readonly instruments: Instruments
  /** Lets a browser in without the token. Default: there is none. */
  readonly link?: OperationsLink | undefined
  /** Whose word on a client's address is taken. */
  readonly trust: TrustConfig
  readonly clock?: Clock | undefined
  readonly log: Log
}

export interface Operations {
  readonly middleware: Middleware
  close(): void
}

/** Answers of a service that a person may look at through the gateway. */
const passed = new Set(['health/live', 'health/ready', 'metrics'])

/**
 * `/ops/*`: what an operator sees of the shop and does to it. Without a token in the instruments there is nothing here:
 * each path is a 404.
 */
export function createOperations(options: OperationsOptions): Operations {
  const { name, discovery, instruments, log, link, trust, clock } = options
  if (instruments.token === undefined) return { middleware: closed, close() {} }

  const services = createServices(options.services, discovery, instruments.token)
  const self: Self & { instruments: Instruments } = {
    name,
    instruments,
    status: (): ServiceStatus => ({
      service: name,
      pid: process.pid,
      edges: instruments.edges.snapshot(),
      faults: instruments.faults.list(),
      group: undefined,
    }),
  }
  const access = createAccess({ token: instruments.token, link, trust, clock })
  const breaking = createBreaking(services, self)
  const picture = () => takePicture(services, self)
  const stream = createStream({ take: picture })

  const app = new Hono()
  app.get('/ops/session', (context) => access.enter(context))
  app.use('/ops/*', access.guard, limitBody())

  app.get('/ops/topology', async (context) => {
    const { nodes, edges } = await picture()
    return context.json({ nodes: Object.values(nodes), edges: Object.values(edges) })
  })

  app.get('/ops/stream', async (context) => {
    const lastId = context.req.header('last-event-id') ?? context.req.query('lastEventId')
    return new Response(await stream.open(lastId), {
      headers: { 'content-type': 'text/event-stream', 'cache-control': 'no-store', 'x-accel-buffering': 'no' },
    })
  })

  app.get('/ops/faults', async (context) => context.json({ items: await breaking.list() }))
  app.put('/ops/faults', async (context) => {
    await breaking.set(await readJson(context, faultRequest))
    return context.json({ items: await breaking.list() })
  })
  app.delete('/ops/faults', async (context) => {
    await breaking.clear()
    return context.body(null, 204)
  })
  app.delete('/ops/faults/:id', async (context) => {
    await breaking.clear(context.req.param('id'))
    return context.body(null, 204)
  })

  const query = (context: Context) => new URL(context.req.url).search
  const sagas = '/internal/operations/sagas'
  app.get('/ops/sagas', (context) => services.forward('order-service', sagas + query(context)))
  app.get('/ops/sagas/:id', (context) =>
    services.forward('order-service', `${sagas}/${idOf(context)}${query(context)}`),
  )
  for (const decision of ['resume', 'cancel']) {
    app.post(`/ops/sagas/:id/${decision}`, async (context) =>
      services.forward('order-service', `${sagas}/${idOf(context)}/${decision}`, {
        method: 'POST',
        body: await context.req.text(),
      }),
    )
  }

  app.get('/ops/dead-letters', async (context) => context.json({ items: await readDeadLetters(services, 50) }))
  app.post('/ops/dead-letters/:group/replay', async (context) => {
    const group = context.req.param('group')
    const statuses = await services.askAll<ServiceStatus>('/internal/operations/status')
    const service = statuses.find((status) => status.group === group)?.service
    if (service === undefined) throw notFound(`such group as '${group}'`)

    return services.forward(service, '/internal/operations/dead-letters/replay', {
      method: 'POST',
      body: (await context.req.text()) || '{}',
    })
  })

  app.put('/ops/deliveries/:id', async (context) =>
    services.forward('product-service', `/internal/operations/deliveries/${idOf(context)}`, {
      method: 'PUT',
      body: await context.req.text(),
    }),
  )

  app.get('/ops/notifications', async (context) => {
    const wanted = accepts(context, {
      header: 'Accept',
      supports: ['application/json', 'text/html'],
      default: 'application/json',
    })
    const userId = context.req.query('userId') ?? ''
    const page = (items?: readonly Told[]) =>
      context.html(outboxViewer(userId, items), 200, {
        'content-security-policy': viewerPolicy,
        'cache-control': 'no-store',
        vary: 'Accept',
      })
    if (wanted === 'text/html' && userId === '') return page()

    const found = await services.forward('notification-service', `/internal/notifications${query(context)}`)
    if (wanted !== 'text/html' || !found.ok) return found
    return page(((await found.json()) as { items: Told[] }).items)
  })

  app.get('/ops/traces', async (context) => {
    return context.json({ items: linesOf(await spans(), limitOf(context, { usual: 50, most: 200 })) })
  })
  app.get('/ops/traces/:id', async (context) => {
    const traceId = context.req.param('id')
    const found = inOrder(await spans(traceId))
    if (found.length === 0) throw notFound('such trace')
    return context.json({ traceId, spans: found })
  })

  app.get('/ops/services', async (context) => {
    const { nodes } = await picture()
    return context.json({ items: Object.values(nodes).filter(({ kind }) => kind === 'service') })
  })
  app.get('/ops/services/:name/:what{.+}', async (context) => {
    const { name: service, what } = context.req.param()
    if (!passed.has(what)) throw notFound('such resource')
    if (service !== name) return services.forward(service, `/${what}`)

    const answer = await options.own(`/${what}`)
    if (answer === undefined) throw notFound('such resource')
    return new Response(answer.text, { status: answer.status, headers: { 'content-type': answer.type } })
  })

  app.notFound(() => notFound('such resource').toResponse())
  app.onError((error) => {
    if (error instanceof HttpProblem) return error.toResponse()
    log.error({ err: error }, 'an operation failed')
    return new HttpProblem({ status: 500, title: 'Internal Server Error', detail: 'it did not work' }).toResponse()
  })

  async function spans(traceId?: string): Promise<SpanView[]> {
    const which = traceId === undefined ? '' : `?trace=${encodeURIComponent(traceId)}`
    const answers = await services.askAll<{ items: SpanView[] }>(`/internal/operations/spans${which}`)
    return [...instruments.spans.list(traceId), ...answers.flatMap(({ items }) => items)]
  }

  const answer = getRequestListener(app.fetch)
  return {
    middleware: (req, res, next) => (isOurs(req.url) ? void answer(req, res) : next()),
    close() {
      stream.close()
      breaking.close()
    },
  }
}

/** As one segment of a path: what comes decoded could name any other path of the service. */
function idOf(context: Context): string {
  return encodeURIComponent(context.req.param('id') ?? '')
}

const closed: Middleware = (req, res, next) => {
  if (!isOurs(req.url)) return next()
  const { problem } = notFound('such resource')
  const { status, title, detail } = problem
  res
    .writeHead(status, { 'content-type': 'application/problem+json' })
    .end(JSON.stringify({ type: 'about:blank', title, status, detail }))
}

function isOurs(url = ''): boolean {
  return /^\/ops([/?]|$)/.test(url)
}
