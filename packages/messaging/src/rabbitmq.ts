export type { RabbitmqOptions, SocketOptions } from './rabbitmq/options.js'
export { rabbitmq } from './rabbitmq/rabbitmq.js'
export type { ReplayOptions } from './rabbitmq/replay.js'
