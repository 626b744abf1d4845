import type { Transport } from '@msx/messaging'

/**
 * The same broker, with every queue under a longer name: services call their queues after their groups, and two shops
 * on one broker must not take each other's messages.
 */
export function prefixed(transport: Transport, prefix: string): Transport {
  const { clock, longestDelay } = transport
  const named = (queue: string) => prefix + queue

  return {
    clock,
    longestDelay,
    async connect(options) {
      const line = await transport.connect(options)
      return {
        declare: (queue) =>
          line.declare({
            ...queue,
            name: named(queue.name),
            ...(queue.deadLetterQueue !== undefined && { deadLetterQueue: named(queue.deadLetterQueue) }),
          }),
        publish: (message, terms) => line.publish(message, terms),
        send: (queue, message, terms) => line.send(named(queue), message, terms),
        consume: (queue, terms, receive) => line.consume(named(queue), terms, receive),
        get: (queue) => line.get(named(queue)),
        depth: (queue) => line.depth(named(queue)),
        health: () => line.health(),
        close: () => line.close(),
      }
    },
  }
}
