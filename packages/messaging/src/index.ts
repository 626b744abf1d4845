/// <reference lib="esnext.disposable" preserve="true" />

export {
  type AsyncApiChannel,
  type AsyncApiDocument,
  type AsyncApiInfo,
  type AsyncApiMessage,
  asyncapi,
} from './asyncapi.js'
export {
  type Bus,
  type BusOptions,
  type CloseOptions,
  createBus,
  type Health,
  type RequestOptions,
  type ValidateMode,
} from './bus.js'
export {
  type Catalogue,
  defineEvents,
  type EventName,
  type EventSpec,
  type Input,
  type Output,
  type Schemas,
  type SchemasOf,
} from './catalogue.js'
export type { Clock } from './clock.js'
export type { DeadLetter } from './dead-letter.js'
export {
  isMessagingError,
  isNonRetryableError,
  MessagingError,
  type MessagingErrorCode,
  type MessagingErrorOptions,
  NonRetryableError,
} from './errors.js'
export type { BusEvents, BusListener } from './events.js'
export type { Match, Matches, Matching, Pattern, Words } from './match.js'
export {
  type MemoryOptions,
  type MemoryTransport,
  memory,
  type PublishedMessage,
  type QueueSnapshot,
} from './memory/memory.js'
export type {
  AnyMessage,
  BusMiddleware,
  Context,
  Handler,
  Message,
  MessageHeaders,
  MessageOf,
  Outgoing,
  PublishOptions,
  Received,
} from './message.js'
export type { RedriveOptions, RedriveResult } from './redrive.js'
export type { RetryPlan } from './retry-plan.js'
export type { Queryable } from './shapes.js'
export type { OrderedOptions, QueueOptions, SubscribeOptions } from './subscribe-options.js'
export type { Subscription, SubscriptionHealth } from './subscription.js'
export type { ProcessedMessage, Sending, SentMessage, Telemetry } from './telemetry.js'
export type {
  ConnectionNotice,
  ConnectOptions,
  Consumer,
  ConsumeTerms,
  Delivery,
  ForeignProperties,
  PublishTerms,
  QueueSpec,
  Transport,
  TransportConnection,
  TransportHealth,
  WireHeaders,
  WireMessage,
} from './transport.js'
