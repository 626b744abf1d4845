export { type ServiceClient, type ServiceClientOptions, serviceClient } from './client.js'
export {
  type Database,
  embeddedDatabase,
  messagingSchema,
  type Pooled,
  pooledDatabase,
  provision,
  type Sql,
} from './database.js'
export { type App, type AppOptions, createApp, type Listening, type ListenOptions, listen, urlHost } from './http.js'
export { type Background, createService, type ServiceMail, type ServiceOptions } from './lifecycle.js'
export { createLog, type Log } from './log.js'
export { fewAtOnce, type Mail, openMail, transactionOf } from './mail.js'
export { applyMigrations } from './migrations.js'
export { HttpProblem, notFound, type ProblemFields, readJson, unavailable } from './problem.js'
export type { Service, ServiceDeps, StopOptions } from './service.js'
export type { DeadLetterView } from './watch/dead-letters.js'
export { type BreakerView, createEdges, type Edge } from './watch/edges.js'
export { delayed, type Fault, type FaultRequest, faultRequest } from './watch/faults.js'
export { createInstruments, type Instruments } from './watch/instruments.js'
export { broker } from './watch/messages.js'
export { isSame, type ServiceStatus } from './watch/operations.js'
export { watchRequests } from './watch/requests.js'
export { extracted, followSpans, inject, inSpan, type Spans, type SpanView } from './watch/spans.js'
