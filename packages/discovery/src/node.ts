export type { Drained, GracefulServer, GracefulServerOptions } from './node/graceful-server.js'
export { gracefulServer } from './node/graceful-server.js'
