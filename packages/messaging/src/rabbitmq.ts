export type { RabbitmqOptions, SocketOptions } from './rabbitmq/options.js'
export { rabbitmq } from './rabbitmq/rabbitmq.js'
