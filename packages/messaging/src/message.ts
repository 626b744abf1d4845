import type { EventName, Input, Output, Schemas } from './catalogue.js'
import type { Matching } from './match.js'
import type { Queryable } from './shapes.js'

/** Application headers. Names starting with `msx-` and `cloudEvents` belong to the envelope. */
export type MessageHeaders = Readonly<Record<string, string | number | boolean>>

/** A received event, by its name and what its schema makes of the data. */
export interface MessageOf<Type extends string, Data> {
  readonly id: string
  readonly type: Type
  /** The schema's output. */
  readonly data: Data
  /** When it was published. */
  readonly time: Date
  /** The bus that published it. */
  readonly source: string
  readonly key?: string | undefined
  /** Which attempt to handle it this is, from 1. */
  readonly attempt: number
  /** The broker gave it to a consumer before, which did not finish with it. */
  readonly redelivered: boolean
  readonly headers: MessageHeaders
  /** The id shared by everything that one first message set off. */
  readonly correlationId?: string | undefined
  /** The id of the message whose handling published this one. */
  readonly causationId?: string | undefined
  /** Aborted when the handler's time is up, or when the bus closes without waiting for it any longer. */
  readonly signal: AbortSignal
}

/** A received event of a catalogue. */
export type Message<S extends Schemas, K extends EventName<S>> = MessageOf<K, Output<S, K>>

/** The events a pattern matches, as a union discriminated on `type`. */
export type Received<S extends Schemas, P extends string> = {
  [K in Matching<S, P>]: Message<S, K>
}[Matching<S, P>]

export interface PublishOptions {
  /** Default: a new UUID. Give the same one again when publishing the same event again. */
  readonly id?: string | undefined
  /** Default: what the event's `key` makes of the data. */
  readonly key?: string | undefined
  readonly headers?: MessageHeaders | undefined
  /** How long the broker keeps it back, in ms. Default 0. */
  readonly delay?: number | undefined
  /** How long it may wait in a queue, in ms; after that it is a dead letter. Default: the event's `ttl`. */
  readonly ttl?: number | undefined
  /** Default: the id of the message. */
  readonly correlationId?: string | undefined
  readonly causationId?: string | undefined
  /** Gives up waiting for the broker; the message may be published all the same. */
  readonly signal?: AbortSignal | undefined
  /** How long to wait for the broker to have it, in ms; then MSX_CONFIRM_TIMEOUT. Default: as long as it takes. */
  readonly timeout?: number | undefined
}

/** One item of {@link Bus.publishMany}. */
export type Outgoing<S extends Schemas> = {
  [K in EventName<S>]: {
    readonly type: K
    readonly data: Input<S, K>
    readonly options?: PublishOptions | undefined
  }
}[EventName<S>]

/** What a handler can do about the message it was given. */
export interface Context<S extends Schemas> {
  /** Whose handler it is. */
  readonly group: string
  /** The transaction that `inbox()` of `@msx/messaging/postgres` opened for this attempt. */
  readonly tx?: Queryable | undefined
  /** Publishes with the received message as cause, and its correlation. */
  publish<K extends EventName<S>>(type: K, data: Input<S, K>, options?: PublishOptions): Promise<void>
  /** Answers a request. Does nothing when the message was published without asking for an answer. */
  reply<K extends EventName<S>>(type: K, data: Input<S, K>): Promise<void>
}

/** The message is {@link Received}, written out so that an editor shows events and data instead of all schemas. */
export type Handler<S extends Schemas, P extends string> = (
  message: { [K in Matching<S, P>]: MessageOf<K, Output<S, K>> }[Matching<S, P>],
  context: Context<S>,
) => void | PromiseLike<void>

/** Any message, for code that handles every event alike. */
export type AnyMessage = MessageOf<string, unknown>

/** Wraps the handling of every message: call `next` once, or throw. Runs on consume only, once per attempt. */
export type BusMiddleware = (message: AnyMessage, context: Context<Schemas>, next: () => Promise<void>) => Promise<void>
