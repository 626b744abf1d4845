import type { Catalogue, EventName, Input, Output, Schemas } from './catalogue.js'
import { timekeeper } from './clock.js'
import { isMessagingError, MessagingError } from './errors.js'
import type { BusEvents, BusListener } from './events.js'
import { Aborts } from './internal/aborts.js'
import { checkDuration, checkFunction, checkObject, checkText, isAbortSignal, refuse } from './internal/check.js'
import { createDecoder } from './internal/decode.js'
import { createEmitter } from './internal/emitter.js'
import { createEncoder, NO_OPTIONS, type Prepared } from './internal/encode.js'
import { HEADER, readText } from './internal/envelope.js'
import { FORWARD } from './internal/forward.js'
import { InFlight } from './internal/in-flight.js'
import { closedError, Line } from './internal/line.js'
import { compose, type Handle } from './internal/middleware.js'
import { Processor } from './internal/processor.js'
import { Replies } from './internal/replies.js'
import { within } from './internal/settle.js'
import { Watch } from './internal/watch.js'
import type { Pattern } from './match.js'
import type { AnyMessage, BusMiddleware, Context, Handler, Outgoing, PublishOptions } from './message.js'
import { OrderedSubscription } from './ordered-subscription.js'
import { isPartitionOf, partitionOf, partitionQueue } from './partitions.js'
import { checkRedriveOptions, type RedriveOptions, type RedriveResult, redriveQueue } from './redrive.js'
import { checkDelays, completeSettings, type SubscribeOptions } from './subscribe-options.js'
import {
  GroupSubscription,
  type RunningSubscription,
  type Subscription,
  type SubscriptionHealth,
} from './subscription.js'
import type { Telemetry } from './telemetry.js'
import type { Transport, TransportConnection, TransportHealth, WireMessage } from './transport.js'

/** Where events are checked against their schemas. */
export type ValidateMode = 'both' | 'publish' | 'consume' | 'off'

export interface BusOptions<S extends Schemas> {
  readonly events: Catalogue<S>
  readonly transport: Transport
  /** The name of the service; travels with each of its messages. */
  readonly source: string
  /** Default `'both'`. Without validation handlers receive the bare JSON. */
  readonly validate?: ValidateMode | undefined
  /** Around every handler, the first one outermost. Default none. */
  readonly use?: readonly BusMiddleware[] | undefined
  /** Sees every message that is sent or handled, such as `openTelemetry()`. Default none, which costs nothing. */
  readonly telemetry?: Telemetry | undefined
}

export interface RequestOptions<R extends string> {
  /** The event that is the answer. */
  readonly reply: R
  /** How long to wait for it, in ms; then MSX_REQUEST_TIMEOUT. */
  readonly timeout: number
}

export interface CloseOptions {
  /** How long handlers and publishes may take to finish, in ms. Default 10,000. */
  readonly timeout?: number | undefined
}

export interface Health {
  /** `up`: connected and every subscription works or is paused. `down`: not connected. Else `degraded`. */
  readonly status: TransportHealth
  readonly publisher: {
    readonly status: TransportHealth
    /** Publishes and requests that are not settled. */
    readonly inFlight: number
    /** Why the broker takes nothing for now. */
    readonly blocked?: string | undefined
  }
  readonly subscriptions: readonly SubscriptionHealth[]
}

/** A typed event bus. {@link createBus} makes it. */
export interface Bus<S extends Schemas> extends AsyncDisposable {
  /** The name it was given. */
  readonly source: string
  /** The names of its events. */
  readonly eventTypes: readonly EventName<S>[]

  /**
   * Connects, and resolves when every subscription made so far receives. Rejects when that fails, and may be called
   * again. The first publish, request or redrive starts a bus that nobody started.
   */
  start(): Promise<void>

  /**
   * Resolves when the broker has the event. Rejects with MSX_VALIDATION, MSX_NOT_JSON or MSX_UNKNOWN_EVENT without
   * sending it, with MSX_UNROUTABLE when no group listens and the event is not `optional`.
   */
  publish<K extends EventName<S>>(type: K, data: Input<S, K>, options?: PublishOptions): Promise<void>

  /** Publishes all at once, in order. Nothing is sent when one of them is not valid. */
  publishMany(batch: Iterable<Outgoing<S>>): Promise<void>

  /**
   * Handles the events that match, sharing them with the other processes of the group. Every group gets every event.
   *
   * @throws MessagingError MSX_GROUP_TAKEN when this bus has a subscription of the group; TypeError for a wrong option.
   */
  subscribe<const P extends string>(
    group: string,
    pattern: Pattern<S, P>,
    handler: Handler<S, P>,
    options?: SubscribeOptions,
  ): Subscription
  subscribe<const P extends string>(
    group: string,
    patterns: readonly Pattern<S, P>[],
    handler: Handler<S, P>,
    options?: SubscribeOptions,
  ): Subscription

  /** Publishes and waits for the answer that a handler gives with `context.reply`. The first answer counts. */
  request<K extends EventName<S>, R extends EventName<S>>(
    type: K,
    data: Input<S, K>,
    options: RequestOptions<R>,
  ): Promise<Output<S, R>>

  /** Moves the dead letters of a group back to its queue, to be handled as if for the first time. */
  redrive(group: string, options?: RedriveOptions): Promise<RedriveResult>

  /** Returns what ends the listening. */
  on<E extends keyof BusEvents>(event: E, listener: BusListener<E>): () => void

  /** How the bus is: plain JSON. */
  health(): Health

  /**
   * Takes nothing more from the queues, waits for handlers and publishes, then disconnects. Handlers that are not
   * done by the deadline see `message.signal` aborted; their messages are delivered again. Idempotent.
   */
  close(options?: CloseOptions): Promise<void>
}

interface BatchItem {
  readonly type: string
  readonly data: unknown
  readonly options?: PublishOptions | undefined
}

const CLOSE_TIMEOUT = 10_000
const EVENTS: readonly (keyof BusEvents)[] = [
  'connection',
  'blocked',
  'published',
  'handled',
  'retry',
  'deadLetter',
  'publishFailed',
]
const MODES: readonly ValidateMode[] = ['both', 'publish', 'consume', 'off']

/**
 * Makes a bus: events of a catalogue over a transport.
 *
 * @throws TypeError for a wrong option.
 * @example
 * const bus = createBus({ events, transport: memory(), source: 'order-service' })
 * bus.subscribe('mails', 'order.*', async (message) => send(message.data.orderId))
 * await bus.start()
 * await bus.publish('order.created', { orderId: 'o-1' })
 */
export function createBus<S extends Schemas>(options: BusOptions<S>): Bus<S> {
  const { events: catalogue, transport, source, validate = 'both', use = [], telemetry } = options
  checkBusOptions(options as BusOptions<never>)

  const time = timekeeper(transport.clock)
  const events = createEmitter<BusEvents>(EVENTS)
  const validatesPublished = validate === 'both' || validate === 'publish'
  const validatesReceived = validate === 'both' || validate === 'consume'
  const encoder = createEncoder(catalogue as unknown as Catalogue, source, validatesPublished)
  const decode = createDecoder(catalogue as unknown as Catalogue, validatesReceived)
  const subscriptions = new Set<RunningSubscription>()
  const line = new Line(transport, source, subscriptions, events)
  const replies = new Replies(decode, time)
  const inFlight = new InFlight()
  const aborts = new Aborts()
  const eventTypes = Object.keys(catalogue.events)
  const watch = telemetry && new Watch(telemetry, transport, eventTypes)
  let blocked: string | undefined
  events.on('blocked', (notice) => {
    blocked = notice.blocked ? (notice.reason ?? 'unknown') : undefined
  })
  let closing: Promise<void> | undefined
  let isClosed = false

  function publishPrepared(prepared: Prepared): Promise<void> {
    if (watch === undefined) return publishWire(prepared)

    return watch.send(prepared.wire, undefined, (wire) => publishWire({ ...prepared, wire }))
  }

  function publishWire(prepared: Prepared): Promise<void> {
    const connection = line.readyNow
    const isHeard = events.hears('published') || events.hears('publishFailed')
    const startedAt = isHeard ? time.now() : 0
    const published =
      connection === undefined
        ? line.ready().then((ready) => handOver(prepared, ready))
        : handOver(prepared, connection)

    return isHeard ? telling(published, prepared.wire, startedAt) : published
  }

  function handOver({ wire, mandatory, delay }: Prepared, connection: TransportConnection): Promise<void> {
    return connection.publish(wire, { mandatory, delay })
  }

  async function telling(published: Promise<void>, { type, id = '' }: WireMessage, startedAt: number): Promise<void> {
    try {
      await published
    } catch (error) {
      events.emit('publishFailed', { type, id, duration: time.now() - startedAt, error })
      throw error
    }
    events.emit('published', { type, id, duration: time.now() - startedAt })
  }

  /** Not an async function: one promise less for each message. */
  function publishNow(type: string, data: unknown, terms: PublishOptions): Promise<void> {
    try {
      if (isClosed) throw closedError(source)
      checkObject(`publish '${type}'`, 'options', terms)
      if (terms.signal?.aborted) throw terms.signal.reason

      const prepared = encoder.encode(type, data, terms)
      return prepared instanceof Promise ? prepared.then(publishPrepared) : publishPrepared(prepared)
    } catch (error) {
      return Promise.reject(error)
    }
  }

  function publish(type: string, data: unknown, terms: PublishOptions = NO_OPTIONS): Promise<void> {
    const published = inFlight.add(publishNow(type, data, terms))
    // Null was refused with the other options.
    const { signal, timeout } = terms ?? NO_OPTIONS
    if (signal === undefined && timeout === undefined) return published

    // What is no signal was refused with the other options.
    const abort = isAbortSignal(signal) ? { signal, aborts } : undefined
    return within(published, time, { abort, timeout, onTimeout: () => unconfirmed(type, timeout) })
  }

  async function publishMany(batch: Iterable<Outgoing<S>>): Promise<void> {
    if (isClosed) throw closedError(source)
    const isBatch = typeof (batch as Partial<Iterable<unknown>> | null | undefined)?.[Symbol.iterator] === 'function'
    if (!isBatch) refuse('publishMany', 'batch', batch, 'an iterable of { type, data, options }')

    const items: readonly BatchItem[] = [...batch]
    for (const [index, item] of items.entries()) {
      checkObject('publishMany', `item ${index}`, item, '{ type, data, options }')
    }
    const encoded = items.map(encodeItem)
    const isReady = (item: Prepared | Promise<Prepared>): item is Prepared => !(item instanceof Promise)
    const prepared = encoded.every(isReady) ? encoded : await Promise.all(encoded)
    const failed = await failures(prepared.map(publishPrepared))
    if (failed.length === 0) return

    const named = failed.map(({ index, error }) => ({ index, id: prepared[index]?.wire.id, error }))
    throw batchFailed(named, items.length)
  }

  function encodeItem({ type, data, options = NO_OPTIONS }: BatchItem, index: number): Prepared | Promise<Prepared> {
    const refuse = (error: unknown): never => {
      throw isMessagingError(error) ? atIndex(error, index) : error
    }
    try {
      const encoded = encoder.encode(type, data, options)
      return encoded instanceof Promise ? encoded.catch(refuse) : encoded
    } catch (error) {
      return Promise.reject(error).catch(refuse)
    }
  }

  function contextFor(message: AnyMessage, wire: WireMessage, group: string): Context<Schemas> {
    const cause = { correlationId: message.correlationId ?? message.id, causationId: message.id }

    return {
      group,
      publish: (type, data, terms) => publish(type, data, { ...cause, ...terms }),
      reply: (type, data) => inFlight.add(reply(type, data, cause, wire.replyTo)),
    }
  }

  async function reply(type: string, data: unknown, cause: PublishOptions, queue: string | undefined): Promise<void> {
    const { wire } = await encoder.encode(type, data, cause)
    if (queue === undefined) return

    const send = async (answer: WireMessage): Promise<void> => {
      const connection = line.readyNow ?? (await line.ready())
      await connection.send(queue, answer)
    }
    await (watch === undefined ? send(wire) : watch.send(wire, queue, send)).catch((error) => {
      // The one who asked is gone.
      if ((error as { code?: unknown }).code !== 'MSX_QUEUE_NOT_FOUND') throw error
    })
  }

  async function request(type: string, data: unknown, terms: RequestOptions<string>) {
    if (isClosed) throw closedError(source)
    checkObject(`request '${type}'`, 'options', terms, '{ reply, timeout }')
    const { reply: expected, timeout } = terms
    if (!eventTypes.includes(expected)) refuse(`request '${type}'`, 'reply', expected, 'an event of the catalogue')
    if (timeout === undefined) refuse(`request '${type}'`, 'timeout', timeout, 'a number of milliseconds')
    checkDuration(`request '${type}'`, 'timeout', timeout)

    const encoded = await encoder.encode(type, data, {})
    const id = encoded.wire.id as string
    return replies.answerTo(id, expected, timeout, async () => {
      const replyTo = await replies.queue(await line.ready())
      await publishPrepared({ wire: { ...encoded.wire, replyTo }, mandatory: true, delay: undefined })
    })
  }

  function subscribe(
    group: string,
    patterns: string | readonly string[],
    handler: Handle,
    terms: SubscribeOptions = {},
  ): Subscription {
    if (closing !== undefined) throw closedError(source)
    const settings = completeSettings(group, patterns, handler, terms, eventTypes)
    checkDelays(settings, transport.longestDelay)
    for (const { settings: other } of subscriptions) {
      if (other.group === group || other.queue.name === settings.queue.name) throw groupTaken(group, other.group)
    }

    const handle = compose(use, handler)
    const parts = {
      handle,
      decode,
      contextFor: (message: AnyMessage, wire: WireMessage) => contextFor(message, wire, group),
      events,
      time,
      watch,
    }
    const onClosed = (): void => {
      subscriptions.delete(subscription)
    }
    const subscription: RunningSubscription =
      settings.ordered === undefined
        ? new GroupSubscription(settings, new Processor({ settings, ...parts }), onClosed)
        : new OrderedSubscription(settings, parts, onClosed)
    subscriptions.add(subscription)
    line.added(subscription)
    return subscription
  }

  async function redrive(group: string, terms: RedriveOptions = {}): Promise<RedriveResult> {
    if (isClosed) throw closedError(source)
    checkText('redrive', 'group', group)
    checkObject(`redrive '${group}'`, 'options', terms)
    checkRedriveOptions(group, terms)

    const own = [...subscriptions].find((subscription) => subscription.group === group)?.settings.queue
    const queue = own?.name ?? group
    const route = ({ headers }: WireMessage): string => {
      if (own?.partitions !== undefined) return partitionQueue(queue, partitionOf(headers, own.partitions))
      const from = readText(headers, HEADER.queue)
      // Anybody can write that header, and name somebody else's queue.
      return from !== undefined && isPartitionOf(queue, from) ? from : queue
    }
    return redriveQueue(await line.ready(), queue, route, time, terms)
  }

  function health(): Health {
    const status = isClosed ? 'down' : line.health()
    const list = [...subscriptions].map((subscription) => subscription.health())
    const isWhole = list.every(({ state }) => state === 'running' || state === 'paused')

    return {
      status: status === 'up' && !isWhole ? 'degraded' : status,
      publisher: { status, inFlight: inFlight.count, blocked },
      subscriptions: list,
    }
  }

  async function close(terms: CloseOptions = {}): Promise<void> {
    checkObject('close', 'options', terms)
    const { timeout = CLOSE_TIMEOUT } = terms
    checkDuration('close', 'timeout', timeout)
    closing ??= drainAndDisconnect(timeout)

    await closing
  }

  async function drainAndDisconnect(timeout: number): Promise<void> {
    const open = [...subscriptions]
    const drained = Promise.allSettled(open.map((subscription) => subscription.close())).then(() => inFlight.none())
    const late = new MessagingError('MSX_CLOSED', `the bus of '${source}' was closed without waiting any longer`, {
      retryable: true,
    })
    await within(drained, time, { timeout, onTimeout: () => late }).catch(() => {
      for (const subscription of open) subscription.abandon(late)
    })

    isClosed = true
    replies.rejectAll(late)
    await line.close(time)
  }

  /** What an outbox kept is the bus's own, from the moment it was written. */
  async function forward(prepared: Prepared): Promise<void> {
    if (isClosed) throw closedError(source)
    const { wire } = prepared
    const own = { ...wire, headers: { ...wire.headers, [HEADER.source]: source } }

    if (watch === undefined) await publishWire({ ...prepared, wire: own })
    else await watch.forward(own, (sent) => publishWire({ ...prepared, wire: sent }))
  }

  const bus: Bus<S> = {
    source,
    eventTypes: eventTypes as EventName<S>[],
    start: () => line.start(),
    publish,
    publishMany: (batch) => inFlight.add(publishMany(batch)),
    subscribe: subscribe as Bus<S>['subscribe'],
    request: ((type, data, terms) => inFlight.add(request(type, data, terms))) as Bus<S>['request'],
    redrive: (group, terms) => inFlight.add(redrive(group, terms)),
    on: (event, listener) => events.on(event, listener),
    health,
    close,
    [Symbol.asyncDispose]: () => close(),
  }
  return Object.defineProperty(bus, FORWARD, { value: (prepared: Prepared) => inFlight.add(forward(prepared)) })
}

function checkBusOptions({ events, transport, source, validate, use, telemetry }: BusOptions<never>): void {
  if (typeof events?.events !== 'object') refuse('createBus', 'events', events, 'what defineEvents returns')
  checkFunction('createBus', 'transport.connect', transport?.connect)
  checkText('createBus', 'source', source)
  if (validate !== undefined && !MODES.includes(validate)) refuse('createBus', 'validate', validate, MODES.join(', '))
  if (telemetry !== undefined) {
    checkFunction('createBus', 'telemetry.send', telemetry?.send)
    checkFunction('createBus', 'telemetry.process', telemetry.process)
  }
  if (use === undefined) return
  if (!Array.isArray(use)) refuse('createBus', 'use', use, 'an array of middleware')
  for (const [index, middleware] of use.entries()) checkFunction('createBus', `use[${index}]`, middleware)
}

function groupTaken(group: string, by: string): MessagingError {
  const problem =
    group === by
      ? `group '${group}' has a subscription on this bus already: give all its patterns to one subscribe`
      : `the queue of group '${group}' is the one of group '${by}' on this bus`

  return new MessagingError('MSX_GROUP_TAKEN', problem, { retryable: false, details: { group } })
}

function unconfirmed(type: string, timeout: number | undefined): MessagingError {
  const problem = `the broker did not confirm '${type}' within ${timeout} ms; it may have it all the same`

  return new MessagingError('MSX_CONFIRM_TIMEOUT', problem, { retryable: true, details: { type, timeout } })
}

function atIndex(error: MessagingError, index: number): MessagingError {
  return new MessagingError(error.code, `item ${index} of the batch: ${error.message}`, {
    retryable: error.retryable,
    cause: error,
    details: { ...error.details, index },
  })
}

interface FailedWork {
  readonly index: number
  readonly error: unknown
}

/** What failed, in order, once everything is settled. */
function failures(works: readonly Promise<void>[]): Promise<readonly FailedWork[]> {
  return new Promise((resolve) => {
    const failed: FailedWork[] = []
    let left = works.length
    const settle = (): void => {
      left -= 1
      if (left === 0) resolve(failed.sort((a, b) => a.index - b.index))
    }
    if (left === 0) resolve(failed)
    for (const [index, work] of works.entries()) {
      work.then(settle, (error) => {
        failed.push({ index, error })
        settle()
      })
    }
  })
}

function batchFailed(
  failed: readonly { index: number; id: string | undefined; error: unknown }[],
  size: number,
): MessagingError {
  const problem = `${failed.length} of ${size} messages were not published`

  return new MessagingError('MSX_BATCH_FAILED', problem, {
    retryable: true,
    cause: failed[0]?.error,
    details: { failed },
  })
}
