import { createHash, randomUUID } from 'node:crypto'
import type { Schemas } from '../catalogue.js'
import { sleep, type Timekeeper } from '../clock.js'
import { describeError, withFailure, withoutForeignHeaders, withoutLargeHeaders } from '../dead-letter.js'
import { isMessagingError, MessagingError } from '../errors.js'
import type { BusEvents } from '../events.js'
import { topicMatcher } from '../match.js'
import type { Context } from '../message.js'
import { judge, judgeBlocking } from '../retry-plan.js'
import type { SubscriptionSettings } from '../subscribe-options.js'
import type { Delivery, TransportConnection, WireMessage } from '../transport.js'
import type { Decoded, Decoder } from './decode.js'
import type { Emitter } from './emitter.js'
import { HEADER, readCount, readId, readText } from './envelope.js'
import type { Handle } from './middleware.js'
import type { ParkedKeys } from './parked-keys.js'
import { ReceivedMessage } from './received-message.js'
import { within } from './settle.js'
import type { Watch } from './watch.js'

export interface ProcessorParts {
  readonly settings: SubscriptionSettings
  readonly handle: Handle
  readonly decode: Decoder
  readonly contextFor: (message: ReceivedMessage, wire: WireMessage) => Context<Schemas>
  readonly events: Emitter<BusEvents>
  readonly time: Timekeeper
  readonly watch: Watch | undefined
  /** Keys of an ordered subscription of which nothing is to be handled for now. */
  readonly parked?: ParkedKeys | undefined
}

interface Failed {
  readonly error: unknown
  /** Whether the handler was called, or the message did not get that far. */
  readonly handled: boolean
}

/** Undefined: it was handled. */
type Outcome = Failed | undefined

interface Started {
  readonly attempt: number
  readonly startedAt: number
  readonly outcome: Outcome | Promise<Outcome>
}

interface FailedAttempt extends Failed {
  readonly attempt: number
  /** In ms. */
  readonly duration: number
}

/** How long a message is kept when the broker would take neither its retry nor its dead letter, in ms. */
const HOLD = 1_000

/** Takes one delivery to its end: handled, to be tried again, or a dead letter. */
export class Processor {
  readonly #parts: ProcessorParts
  readonly #matchers: readonly ((type: string) => boolean)[]
  readonly #inHand = new Set<ReceivedMessage>()
  readonly #waits = new Set<() => void>()
  /** What ends the time limits of running attempts. */
  readonly #limits = new Set<() => void>()
  #isPausing = false
  #abandoned = false

  constructor(parts: ProcessorParts) {
    this.#parts = parts
    this.#matchers = parts.settings.queue.patterns.map(topicMatcher)
  }

  /** Never rejects, nor throws. No promise when it is at its end already, which most messages are: a promise costs. */
  process(delivery: Delivery, connection: TransportConnection): Promise<void> | undefined {
    const wire = withId(delivery.message)
    const refusal = this.#parts.parked?.refusalOf(wire)
    if (refusal !== undefined) {
      return this.#giveUp(wire, { error: refusal, handled: false, attempt: 1, duration: 0 }, delivery, connection)
    }

    const attempt = (readCount(wire.headers, HEADER.attempts) ?? 0) + 1
    const startedAt = this.#parts.time.now()
    const outcome = this.#watched(wire, attempt, delivery.redelivered)
    if (outcome !== undefined) return this.#goOn(wire, { attempt, startedAt, outcome }, delivery, connection)

    this.#succeed(wire, { attempt, startedAt }, delivery)
    return undefined
  }

  async #goOn(wire: IdentifiedMessage, first: Started, delivery: Delivery, connection: TransportConnection) {
    const { settings, events, time } = this.#parts
    const { group, plan } = settings
    const { type, id } = wire

    for (let { attempt, startedAt, outcome } = first; ; ) {
      const failed = await outcome
      const duration = time.now() - startedAt
      if (failed === undefined) return this.#succeed(wire, { attempt, startedAt }, delivery)
      if (this.#isNobodys(delivery)) return

      const { error } = failed
      const verdict =
        settings.ordered?.onFailure === 'block' ? judgeBlocking(error, attempt, plan) : judge(error, attempt, plan)
      const ended: FailedAttempt = { ...failed, attempt, duration }
      if (verdict.next === 'never') return this.#giveUp(wire, ended, delivery, connection)
      const delay = verdict.next === 'later' ? verdict.delay : 0
      if (verdict.next === 'later' && settings.ordered === undefined) {
        return this.#postpone(wire, ended, delay, delivery, connection)
      }
      events.emit('retry', { group, type, id, attempt, duration, delay, error })
      if (verdict.next === 'later' && !(await this.#waitInPlace(delay, delivery))) return

      attempt += 1
      startedAt = time.now()
      outcome = this.#watched(wire, attempt, delivery.redelivered)
    }
  }

  #succeed(
    { type, id }: IdentifiedMessage,
    { attempt, startedAt }: Omit<Started, 'outcome'>,
    delivery: Delivery,
  ): void {
    if (this.#isNobodys(delivery)) return

    delivery.ack()
    const { settings, events, time } = this.#parts
    if (!events.hears('handled')) return
    events.emit('handled', { group: settings.group, type, id, attempt, duration: time.now() - startedAt })
  }

  /** Nobody waits for it any more: its connection closes or broke, and the queue gives the message out again. */
  #isNobodys(delivery: Delivery): boolean {
    return this.#abandoned || delivery.gone === true
  }

  /** Messages that wait for their next attempt in place are the queue's again, once they can no longer be settled. */
  stopWaiting(): void {
    this.#isPausing = true
    for (const stop of [...this.#waits]) stop()
  }

  waitAgain(): void {
    this.#isPausing = false
  }

  /** Keeps the message, and with it the order of its key, until its next attempt. False: somebody else makes it. */
  async #waitInPlace(delay: number, delivery: Delivery): Promise<boolean> {
    if (this.#isPausing) return false

    const goesOn = await new Promise<boolean>((resolve) => {
      const end = (result: boolean): void => {
        this.#waits.delete(stop)
        cancel()
        resolve(result)
      }
      const stop = (): void => end(false)
      const cancel = this.#parts.time.after(delay, () => end(true))
      this.#waits.add(stop)
    })

    return goesOn && !this.#abandoned && delivery.gone !== true
  }

  /** From now on outcomes count for nothing, and handlers are told to stop. */
  abandon(reason: unknown): void {
    this.#abandoned = true
    this.stopWaiting()
    // A timer for what nobody waits for would keep the process from ending.
    for (const cancel of this.#limits) cancel()
    for (const message of this.#inHand) message.abort(reason)
  }

  #watched(wire: IdentifiedMessage, attempt: number, redelivered: boolean): Outcome | Promise<Outcome> {
    const { settings, watch } = this.#parts
    if (watch === undefined) return this.#attempt(wire, attempt, redelivered)

    const { group, queue } = settings
    const facts = { group, queue: queue.name, attempt, redelivered }
    return watch.process(wire, facts, async () => this.#attempt(wire, attempt, redelivered))
  }

  /** Every attempt parses the message again, so that none sees what another one made of it. */
  #attempt(wire: IdentifiedMessage, attempt: number, redelivered: boolean): Outcome | Promise<Outcome> {
    const { decode } = this.#parts
    try {
      this.#checkMatch(wire)
      const decoded = decode(wire)
      if (!(decoded instanceof Promise)) return this.#handle(wire, decoded, attempt, redelivered)

      return decoded.then(
        (late) => this.#handle(wire, late, attempt, redelivered),
        (error) => ({ error, handled: false }),
      )
    } catch (error) {
      return { error, handled: false }
    }
  }

  #handle(
    wire: IdentifiedMessage,
    decoded: Decoded,
    attempt: number,
    redelivered: boolean,
  ): Outcome | Promise<Outcome> {
    const { handle, contextFor } = this.#parts
    const message = new ReceivedMessage(wire.type, wire.id, decoded, attempt, redelivered)
    try {
      const work = handle(message, contextFor(message, wire))
      return isPromiseLike(work) ? this.#await(work, message) : undefined
    } catch (error) {
      return { error, handled: true }
    }
  }

  async #await(work: PromiseLike<unknown>, message: ReceivedMessage): Promise<Outcome> {
    const { timeout } = this.#parts.settings
    this.#inHand.add(message)
    try {
      if (timeout === undefined) await work
      else await within(work, this.#limited, { timeout, onTimeout: this.#timeOut(message, timeout) })
      return undefined
    } catch (error) {
      return { error, handled: true }
    } finally {
      this.#inHand.delete(message)
    }
  }

  /** Time that no longer passes once the subscription is abandoned. */
  readonly #limited: Timekeeper = {
    now: () => this.#parts.time.now(),
    after: (ms, run) => {
      const cancelTimer = this.#parts.time.after(ms, () => {
        this.#limits.delete(cancel)
        run()
      })
      const cancel = (): void => {
        this.#limits.delete(cancel)
        cancelTimer()
      }
      this.#limits.add(cancel)
      return cancel
    },
  }

  #checkMatch({ type }: WireMessage): void {
    if (this.#matchers.some((matches) => matches(type))) return

    const { group, queue } = this.#parts.settings
    const problem = `'${type}' came through a binding of group '${group}' that none of its patterns match: ${queue.patterns.join(', ')}`
    throw new MessagingError('MSX_UNMATCHED', problem, { retryable: false, details: { type, group } })
  }

  #timeOut(message: ReceivedMessage, timeout: number): () => MessagingError {
    return () => {
      const { group } = this.#parts.settings
      const problem = `the handler of group '${group}' took longer than ${timeout} ms for '${message.type}'`
      const error = new MessagingError('MSX_HANDLER_TIMEOUT', problem, { retryable: true, details: { group, timeout } })
      message.abort(error)
      return error
    }
  }

  async #postpone(
    wire: IdentifiedMessage,
    failed: FailedAttempt,
    delay: number,
    delivery: Delivery,
    connection: TransportConnection,
  ): Promise<void> {
    const { settings, events } = this.#parts
    const { attempt, duration, error } = failed
    const firstFailedAt = readText(wire.headers, HEADER.firstFailedAt) ?? new Date().toISOString()
    const headers = { ...wire.headers, [HEADER.attempts]: attempt, [HEADER.firstFailedAt]: firstFailedAt }
    // Its ttl was for the wait until the first attempt.
    const again = { ...wire, headers, ttl: undefined }

    const sent = connection.send(settings.queue.name, again, { delay })
    const end = await this.#handOver(sent, delivery, wire, failed)
    // With its story on it the message would never fit.
    if (end === 'too large') return this.#giveUp(wire, failed, delivery, connection)
    if (end === 'moved') {
      events.emit('retry', { group: settings.group, type: wire.type, id: wire.id, attempt, duration, delay, error })
    }
  }

  async #giveUp(
    wire: IdentifiedMessage,
    failed: FailedAttempt,
    delivery: Delivery,
    connection: TransportConnection,
  ): Promise<void> {
    const { settings, parked } = this.#parts
    const { group, queue } = settings
    const { deadLetterQueue } = queue

    if (deadLetterQueue === undefined) delivery.ack()
    else {
      const letter = withFailure(from(wire, settings.ordered === undefined ? undefined : queue.name), {
        group,
        ...describeError(failed.error),
        attempts: attemptsOf(failed),
      })
      const forms = [letter, withoutLargeHeaders(letter)]
      // Somebody else's queue may throw away what is rejected.
      if (queue.existing) forms.push(withoutForeignHeaders(letter))
      const send = (): Promise<void> => sendWhatFits(connection, deadLetterQueue, forms)
      const end = await (settings.ordered === undefined
        ? this.#handOver(send(), delivery, wire, failed)
        : this.#insist(send, delivery, wire, failed))
      if (end === 'released') return
      // The broker puts it away as it is.
      if (end === 'too large') delivery.reject()
    }
    parked?.add(wire, !isMessagingError(failed.error) || failed.error.code !== 'MSX_KEY_PARKED')
    this.#tellDeadLetter(wire, failed)
  }

  #tellDeadLetter({ type, id }: IdentifiedMessage, failed: FailedAttempt): void {
    const { settings, events } = this.#parts
    const { error, duration } = failed
    const { code } = describeError(error)
    const kept = settings.queue.deadLetterQueue !== undefined
    events.emit('deadLetter', {
      group: settings.group,
      type,
      id,
      attempt: attemptsOf(failed),
      duration,
      code,
      error,
      kept,
    })
  }

  /** Keeps the message until the broker has the copy: back in its queue it would come after the rest of its key. */
  async #insist(
    send: () => Promise<void>,
    delivery: Delivery,
    wire: IdentifiedMessage,
    failed: FailedAttempt,
  ): Promise<HandOver> {
    for (;;) {
      try {
        await send()
        delivery.ack()
        return 'moved'
      } catch (error) {
        if (isTooLarge(error)) return 'too large'

        this.#tellHeld(wire, failed, error)
        if (!(await this.#waitInPlace(HOLD, delivery))) return 'released'
      }
    }
  }

  /** First the broker has the copy, then the original goes: a crash in between leaves two messages, never none. */
  async #handOver(
    sent: Promise<void>,
    delivery: Delivery,
    wire: IdentifiedMessage,
    failed: FailedAttempt,
  ): Promise<HandOver> {
    try {
      await sent
      delivery.ack()
      return 'moved'
    } catch (error) {
      if (isTooLarge(error)) return 'too large'

      // Back to the queue, but not in a circle as fast as the machine can run.
      this.#tellHeld(wire, failed, error)
      if (!this.#abandoned) await sleep(this.#parts.time, HOLD)
      delivery.release()
      return 'released'
    }
  }

  /** What goes round here is seen from outside, and why. */
  #tellHeld({ type, id }: IdentifiedMessage, { attempt, duration }: FailedAttempt, error: unknown): void {
    const { settings, events } = this.#parts
    events.emit('retry', { group: settings.group, type, id, attempt, duration, delay: HOLD, error })
  }
}

/** `released`: the broker took neither the retry nor the dead letter. */
type HandOver = 'moved' | 'too large' | 'released'

function isTooLarge(error: unknown): boolean {
  return isMessagingError(error) && error.code === 'MSX_TOO_LARGE'
}

/** The first form that is not too large; rejects when the last one is. */
async function sendWhatFits(
  connection: TransportConnection,
  queue: string,
  [form, ...smaller]: readonly WireMessage[],
): Promise<void> {
  try {
    await connection.send(queue, form as WireMessage)
  } catch (error) {
    if (!isTooLarge(error) || smaller.length === 0) throw error
    await sendWhatFits(connection, queue, smaller)
  }
}

/** A dead letter finds back to its partition, and to nothing else that its publisher may have named. */
function from(wire: IdentifiedMessage, queue: string | undefined): IdentifiedMessage {
  if (queue === undefined && wire.headers[HEADER.queue] === undefined) return wire

  return { ...wire, headers: { ...wire.headers, [HEADER.queue]: queue } }
}

type IdentifiedMessage = WireMessage & { readonly id: string }

/** What AMQP carries as an id, in bytes. */
const LONGEST_ID = 255

/**
 * A foreign message may lack an id; it keeps the one it is given here through all its retries. A CloudEvent may have one
 * that could not be written again: its hash stands for it.
 */
function withId(wire: WireMessage): IdentifiedMessage {
  const given = readId(wire) ?? randomUUID()
  const isLong = given.length > LONGEST_ID / 3 && Buffer.byteLength(given) > LONGEST_ID
  const id = isLong ? createHash('sha256').update(given).digest('hex') : given

  return id === wire.id ? (wire as IdentifiedMessage) : { ...wire, id }
}

function attemptsOf({ attempt, handled }: FailedAttempt): number {
  return handled ? attempt : attempt - 1
}

function isPromiseLike(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function'
}
