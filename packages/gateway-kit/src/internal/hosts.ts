import 'reflect-metadata'
import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http'
import { createRequire } from 'node:module'
import type { AddressInfo } from 'node:net'
import { getRequestListener } from '@hono/node-server'
import { type MiddlewareConsumer, Module } from '@nestjs/common'
import { NestFactory } from '@nestjs/core'
import { authOf } from '../authenticate.js'
import type { Claims } from '../claims.js'
import { toFastify } from '../fastify.js'
import { toFetch } from '../fetch.js'
import { compose, type Middleware } from '../middleware.js'

// They have no types of their own.
const require = createRequire(import.meta.url)

/** What is mounted in every host: middleware for all, the gateway under /api, and a route of the host's own at /own. */
export interface Mounted {
  readonly all: Middleware
  readonly api: Middleware
}

export interface Running {
  readonly url: string
  close(): Promise<void>
}

export interface Host {
  readonly name: string
  start(mounted: Mounted): Promise<Running>
}

const said = (claims: Claims | undefined): string => JSON.stringify({ own: claims?.sub ?? null })

async function listen(listener: RequestListener): Promise<Running> {
  const server = createServer(listener)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))

  return running(server)
}

function running(server: Server, close = async () => {}): Running {
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async close() {
      server.closeAllConnections()
      server.close()
      await close()
    },
  }
}

/** What Express 4, Express 5 and Connect have in common. */
interface App extends RequestListener {
  use(...given: unknown[]): unknown
}

const likeConnect = (name: string, create: unknown): Host => ({
  name,
  async start({ all, api }) {
    const app = (create as () => App)()
    app.use(all)
    app.use('/own', ((req, res) => void res.end(said(authOf(req)))) satisfies Middleware)
    app.use('/api', api)

    return listen(app)
  },
})

/** With a parser of bodies in front, which reads what the gateway is to forward. */
const withParser = (name: string, create: unknown): Host => ({
  name: `${name} behind express.json()`,
  async start({ all, api }) {
    const express = create as (() => App) & { json(): Middleware }
    const app = express()
    app.use(express.json())
    app.use(all)
    app.use('/own', ((req, res) => void res.end(said(authOf(req)))) satisfies Middleware)
    app.use('/api', api)

    return listen(app)
  },
})

const plain: Host = {
  name: 'node:http',
  start: ({ all, api }) =>
    listen((req, res) => {
      const own: Middleware = (request, response, next) => {
        if (request.url === '/own') response.end(said(authOf(request)))
        else next()
      }
      compose(all, own, api)(req, res, (error) => res.writeHead(error === undefined ? 404 : 500).end())
    }),
}

const fastify: Host = {
  name: 'Fastify',
  async start({ all, api }) {
    const { default: create } = await import('fastify')
    const app = create()
    app.addHook('onRequest', toFastify(all))
    app.get('/own', (request) => ({ own: authOf(request.raw)?.sub ?? null }))
    await app.register(async (scope) => {
      scope.addHook('onRequest', toFastify(api))
      scope.all('/api/*', () => {})
    })
    await app.listen({ port: 0, host: '127.0.0.1' })

    return running(app.server, () => app.close())
  },
}

const hono: Host = {
  name: 'Hono',
  async start({ all, api }) {
    const { Hono } = await import('hono')
    const app = new Hono<{ Bindings: { incoming: IncomingMessage } }>()
    const forAll = toFetch(all)
    const forApi = toFetch(api)
    app.use(async (c, next) => {
      c.res = await forAll(
        c.req.raw,
        async (request) => {
          c.req.raw = request
          await next()
          return c.res
        },
        { address: c.env.incoming.socket.remoteAddress },
      )
    })
    app.get('/own', (c) => c.body(said(authOf(c.req.raw))))
    app.all('/api/*', (c) => forApi(c.req.raw))

    return listen(getRequestListener(app.fetch as never))
  },
}

const nest: Host = {
  name: 'NestJS',
  async start({ all, api }) {
    class AppModule {}
    Module({})(AppModule)
    const app = await NestFactory.create(AppModule, { logger: false })
    app.use(all)
    app.use('/own', ((req, res) => void res.end(said(authOf(req)))) satisfies Middleware)
    app.use('/api', api)
    await app.listen(0, '127.0.0.1')

    return running(app.getHttpServer() as Server, () => app.close())
  },
}

/** As the documentation of NestJS has it: in a module, behind the parsers, which keep the bytes. */
const nestModule: Host = {
  name: 'a module of NestJS',
  async start({ all, api }) {
    const own: Middleware = (req, res) => void res.end(said(authOf(req)))
    class AppModule {
      configure(consumer: MiddlewareConsumer) {
        consumer.apply(all).forRoutes('*path')
        consumer.apply(own).forRoutes('own')
        consumer.apply(api).forRoutes('api/*path')
      }
    }
    Module({})(AppModule)
    const app = await NestFactory.create(AppModule, { logger: false, rawBody: true })
    await app.listen(0, '127.0.0.1')

    return running(app.getHttpServer() as Server, () => app.close())
  },
}

export const hosts: readonly Host[] = [
  plain,
  likeConnect('Connect', require('connect')),
  likeConnect('Express 4', require('express4')),
  withParser('Express 4', require('express4')),
  likeConnect('Express 5', require('express')),
  withParser('Express 5', require('express')),
  fastify,
  hono,
  nest,
  nestModule,
]
