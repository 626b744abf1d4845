import { setImmediate } from 'node:timers/promises'
import { type Clock, timekeeper } from '../clock.js'
import { type DeadLetter, readDeadLetter } from '../dead-letter.js'
import { checkCount, checkFunction } from '../internal/check.js'
import { parseBody, readEnvelope } from '../internal/envelope.js'
import type { MessageHeaders } from '../message.js'
import type { Transport, WireMessage } from '../transport.js'
import { MemoryBroker } from './broker.js'
import { MemoryConnection } from './connection.js'
import { History } from './history.js'

export interface MemoryOptions {
  /** What delays, expiry and the handlers' time limits go by. Default: the machine's clock. */
  readonly clock?: Clock | undefined
  /**
   * How many messages `published` shows. Default 10,000. With 0 none is kept, which is what a process wants that runs for
   * long and that nobody looks into.
   */
  readonly history?: number | undefined
}

/** A message as the broker took it. */
export interface PublishedMessage {
  readonly id: string
  readonly type: string
  /** The JSON that travels: what publish was given. */
  readonly data: unknown
  readonly time: Date
  readonly source: string
  readonly key?: string | undefined
  readonly headers: MessageHeaders
  readonly correlationId?: string | undefined
  readonly causationId?: string | undefined
}

export interface QueueSnapshot {
  readonly name: string
  /** Waiting for a consumer. */
  readonly ready: number
  /** In the hands of a consumer. */
  readonly unsettled: number
  readonly consumers: number
}

/** A broker in this process. */
export interface MemoryTransport extends Transport {
  /**
   * The last messages published, as many as `history` says, oldest first; fewer when the bodies of these are more than
   * 16 MiB. Retries, dead letters and replies are not among them.
   */
  readonly published: readonly PublishedMessage[]
  /** What lies in the dead letters, of one group or of all, oldest first. */
  deadLetters(group?: string): readonly DeadLetter[]
  /**
   * Resolves when nothing more will happen by itself: nothing is being handled, and no retry or delayed message is
   * to come. With a `clock` of your own those are not waited for, since their time comes when you make it come.
   */
  drain(): Promise<void>
  /** Each queue as it is now: plain JSON. */
  queues(): readonly QueueSnapshot[]
}

const HISTORY = 10_000

/** In bytes of bodies. */
const LONGEST_HISTORY = 16 * 1024 * 1024

/**
 * A broker in this process, which keeps to the rules of RabbitMQ: a queue per group, topic patterns, acknowledgement,
 * redelivery, prefetch, delayed retries, dead letters. Messages travel as JSON, so nobody shares an object. One
 * `memory()` is one broker: give it to as many buses as there are services. Nothing in it survives the process.
 *
 * @example
 * const broker = memory()
 * const orders = createBus({ events, transport: broker, source: 'order-service' })
 * const mails = createBus({ events, transport: broker, source: 'notification-service' })
 */
export function memory(options: MemoryOptions = {}): MemoryTransport {
  const { clock, history = HISTORY } = options
  if (clock !== undefined) checkFunction('memory', 'clock.now', clock?.now)
  checkCount('memory', 'history', history, 0)

  const published = new History(history, LONGEST_HISTORY)
  const broker = new MemoryBroker(timekeeper(clock), (message) => published.push(message))

  return {
    clock,
    system: 'memory',
    connect: async () => new MemoryConnection(broker),

    get published() {
      return Array.from(published, readPublished)
    },

    deadLetters(group) {
      const queues = new Set<string>()
      for (const { spec } of broker.queues.values()) {
        if (spec.deadLetterQueue !== undefined) queues.add(spec.deadLetterQueue)
      }
      const letters = [...queues].flatMap((name) => [...broker.find(name).messages()].map(readDeadLetter))
      return group === undefined ? letters : letters.filter((letter) => letter.group === group)
    },

    async drain() {
      const countDelayed = clock === undefined
      do {
        await broker.calm(countDelayed)
        // What was published without waiting for it reaches the broker within the turn.
        await setImmediate()
      } while (broker.isBusy(countDelayed))
    },

    queues: () =>
      [...broker.queues.values()].map(({ spec, ready, unsettled, consumers }) => ({
        name: spec.name,
        ready,
        unsettled,
        consumers,
      })),
  }
}

function readPublished(wire: WireMessage): PublishedMessage {
  const json = parseBody(wire)
  const { id = 'unknown', time, source, key, headers, correlationId, causationId } = readEnvelope(wire, json)

  return { id, type: wire.type, data: json, time, source, key, headers, correlationId, causationId }
}
