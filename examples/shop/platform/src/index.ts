// The bus's maker travels with the platform, so that whoever has a `Transport` from it can use it.
export { type ServiceClient, type ServiceClientOptions, serviceClient } from './client.js'
export { type Database, embeddedDatabase, type Pooled, pooledDatabase, provision, type Sql } from './database.js'
export { type App, type AppOptions, createApp, type Listening, listen } from './http.js'
export { type Background, createService, type ServiceBus, type ServiceOptions } from './lifecycle.js'
export { createLog, type Log } from './log.js'
export { applyMigrations } from './migrations.js'
export { HttpProblem, notFound, type ProblemFields, readJson, unavailable } from './problem.js'
export type { Service, ServiceDeps } from './service.js'
