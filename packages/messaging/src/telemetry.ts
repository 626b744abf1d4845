import type { MessageHeaders } from './message.js'
import type { WireHeaders } from './transport.js'

/**
 * What watches messages come and go. `openTelemetry()` of `@msx/messaging/opentelemetry` makes one; nothing here knows of
 * that library. What it throws breaks no message.
 */
export interface Telemetry {
  /** Called before a message is sent, in the context of whoever publishes it. */
  send(message: SentMessage): Sending
  /**
   * Called before a relay sends what an outbox kept, in no context of anybody's. Among its headers is what `send` added
   * when it was written, if anything did. Default: nobody sees it.
   */
  forward?(message: SentMessage): Sending
  /** Runs one attempt to handle a message, and returns what that returns: undefined, or why it failed. */
  process<T extends Failure | undefined>(message: ProcessedMessage, attempt: () => Promise<T>): Promise<T>
}

interface Failure {
  readonly error: unknown
}

/** A message on its way to the broker. */
export interface Sending {
  /** What is to travel with the message. */
  readonly headers: MessageHeaders
  /** The broker has it, or not. */
  end(failure?: Failure): void
}

export interface SentMessage {
  /** The broker's kind: `rabbitmq`, `memory`, … */
  readonly system: string
  /** Where it goes, in the broker's words. */
  readonly destination: string
  /** The event's name; undefined for one that is not in the catalogue, whose name may be anything. */
  readonly type: string | undefined
  readonly routingKey: string
  readonly id: string
  readonly correlationId: string | undefined
  readonly headers: WireHeaders
  /** In bytes. */
  readonly bodySize: number
}

export interface ProcessedMessage extends SentMessage {
  readonly group: string
  /** From 1. */
  readonly attempt: number
  readonly redelivered: boolean
}
