export { type ServiceClient, type ServiceClientOptions, serviceClient } from './client.js'
export { type Database, messagingSchema, type Pooled, pooledDatabase, type Sql } from './database.js'
export { hasDeparted, rememberDeparture } from './departed.js'
export {
  type App,
  type AppOptions,
  createApp,
  type Listening,
  type ListenOptions,
  limitBody,
  listen,
  urlHost,
} from './http.js'
export { type Background, createService, type ServiceMail, type ServiceOptions } from './lifecycle.js'
export { createLog, type Log } from './log.js'
export { fewAtOnce, type Mail, openMail, transactionOf } from './mail.js'
export { refuseMalformed } from './malformed.js'
export { exposition } from './metrics.js'
export { applyMigrations } from './migrations.js'
export { HttpProblem, limitOf, notFound, type ProblemFields, quotaUsedUp, readJson, unavailable } from './problem.js'
export type { Service, ServiceDeps, StopOptions } from './service.js'
export type { DeadLetterView } from './watch/dead-letters.js'
export { type BreakerView, createEdges, type Edge } from './watch/edges.js'
export { delayed, type Fault, type FaultRequest, faultRequest } from './watch/faults.js'
export { createInstruments, type Instruments } from './watch/instruments.js'
export { broker } from './watch/messages.js'
export { isSame, type ServiceStatus } from './watch/operations.js'
export { disturbRequests } from './watch/requests.js'
export {
  extracted,
  followSpans,
  inject,
  inSpan,
  presentTrace,
  propagator,
  type SpanView,
  type TraceContext,
} from './watch/spans.js'
