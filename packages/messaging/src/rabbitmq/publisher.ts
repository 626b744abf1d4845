import type { ChannelModel, ConfirmChannel, Message } from 'amqplib'
import type { Timekeeper } from '../clock.js'
import { MessagingError } from '../errors.js'
import { Fifo } from '../internal/fifo.js'
import { ByTag } from './by-tag.js'
import { connectionLost, explain, guiltyExchange, largestMessage, textOf } from './failure.js'
import { closedConnection, type Link } from './link.js'
import { Nap } from './nap.js'
import type { Settings } from './options.js'
import { type Outlet, openOutlet } from './outlet.js'
import { doingOf, type Parcel } from './parcel.js'
import { replayRefusal } from './replay.js'

/** A parcel on its way. */
interface Entry {
  readonly parcel: Parcel
  readonly deadline: number
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
  isSettled: boolean
  isReturned: boolean
  /** How often it was written to a channel. */
  sends: number
  /** Its number on the channel of now. */
  tag: number
}

export interface PublisherParts {
  readonly link: Link
  readonly settings: Settings
  readonly time: Timekeeper
  /** Makes what publishing needs be there, before the first message on each new channel. */
  readonly prepare: (model: ChannelModel) => Promise<void>
}

/** Channels a message may be on when the broker closes them for an unknown reason, before it is taken for the reason. */
const SUSPICIOUS = 3

/** How much later than its deadline a message may be rejected, in ms, together with those that follow closely. */
const GATHER = 5

/**
 * Publishes with confirms, in order, over as many channels and connections as it takes. A message waits its turn, is in
 * the window without being written (no connection, or the broker is blocked), or is written and not confirmed. When the
 * channel breaks, what was written goes back in front of what was not, and all of it is written again: the broker may
 * have had some of it, so those arrive twice, with the same id. `replay` limits that. Each promise settles by
 * its deadline.
 */
export class Publisher {
  readonly #parts: PublisherParts
  readonly #nap: Nap
  /** Everything not settled, in the order of deadlines. */
  readonly #live = new Set<Entry>()
  readonly #waiting = new Fifo<Entry>()
  readonly #unwritten = new Fifo<Entry>()
  /** By the number that the broker confirms them with. */
  #written = new ByTag<Entry>()
  #count = 0
  #bytes = 0
  #channel: ConfirmChannel | undefined
  #outlet: Outlet | undefined
  /** Of the last channel. */
  #emptied: Promise<void> = Promise.resolve()
  #isStuffed = false
  #cancelSweep: (() => void) | undefined
  #cancelReplaySweep: (() => void) | undefined
  #isOpening = false
  #isClosed = false

  constructor(parts: PublisherParts) {
    this.#parts = parts
    this.#nap = new Nap(parts.time)
  }

  get isReady(): boolean {
    return this.#channel !== undefined
  }

  async start(model: ChannelModel): Promise<void> {
    await this.#open(model)
  }

  publish(parcel: Parcel): Promise<void> {
    if (this.#isClosed) return Promise.reject(closedConnection())

    const { settings, time } = this.#parts
    const mustWait = this.#waiting.size > 0 || !this.#hasRoomFor(parcel)
    if (mustWait && settings.onFull === 'reject') return Promise.reject(windowFull(parcel, this.#count))

    return new Promise((resolve, reject) => {
      const deadline = time.now() + settings.confirmTimeout
      const entry = { parcel, deadline, resolve, reject, isSettled: false, isReturned: false, sends: 0, tag: 0 }
      this.#live.add(entry)
      this.#armSweep()
      if (mustWait) this.#waiting.push(entry)
      else this.#admit(entry)
    })
  }

  /** The broker takes messages again, or the channel does. */
  resume(): void {
    this.#write()
  }

  /** Its channel ends with its connection. */
  close(): void {
    this.#isClosed = true
    this.#nap.end()
    this.#cancelSweep?.()
    this.#cancelReplaySweep?.()
    for (const entry of this.#live) this.#settle(entry, closedConnection())
    this.#channel = undefined
    this.#outlet = undefined
  }

  #hasRoomFor({ message: { body } }: Parcel): boolean {
    const { maxInFlight, maxInFlightBytes } = this.#parts.settings

    // One message alone is let in whatever its size.
    return this.#count < maxInFlight && (this.#count === 0 || this.#bytes + body.length <= maxInFlightBytes)
  }

  #admit(entry: Entry): void {
    this.#count += 1
    this.#bytes += entry.parcel.message.body.length
    this.#unwritten.push(entry)
    this.#write()
  }

  #leave(entry: Entry): void {
    this.#count -= 1
    this.#bytes -= entry.parcel.message.body.length
  }

  #letIn(): void {
    for (let next = this.#waiting.peek(); next !== undefined; next = this.#waiting.peek()) {
      if (!next.isSettled && !this.#hasRoomFor(next.parcel)) return
      this.#waiting.shift()
      if (!next.isSettled) this.#admit(next)
    }
  }

  /** Writes what the channel will take. */
  #write(): void {
    const outlet = this.#outlet
    while (outlet !== undefined && this.#outlet === outlet && !this.#isStuffed && !this.#parts.link.blocked) {
      const entry = this.#unwritten.shift()
      if (entry === undefined) return

      try {
        const isRoomy = outlet.write(entry.parcel)
        entry.sends += 1
        entry.tag = this.#written.push(entry)
        if (!isRoomy) this.#isStuffed = true
      } catch (error) {
        if ((error as Error).name === 'IllegalOperationError') {
          // The channel is on its way out; its close event follows.
          this.#unwritten.unshift([entry])
          return
        }
        // Headers that do not fit a frame, above all. Nothing of it was written.
        this.#leave(entry)
        this.#settle(entry, tooLarge(entry.parcel, textOf(error), error))
      }
    }
  }

  async #open(model: ChannelModel): Promise<void> {
    const { link, prepare } = this.#parts
    try {
      await prepare(model)
      const channel = await model.createConfirmChannel()
      const outlet = openOutlet(channel)
      let cause: unknown
      channel.on('error', (error) => {
        cause = error
      })
      channel.on('close', () => this.#lost(channel, cause))
      channel.on('ack', ({ deliveryTag, multiple }) => this.#confirmed(channel, deliveryTag, multiple, true))
      channel.on('nack', ({ deliveryTag, multiple }) => this.#confirmed(channel, deliveryTag, multiple, false))
      channel.on('return', (message) => this.#returned(channel, message))
      channel.on('drain', () => {
        this.#isStuffed = false
        this.#write()
      })
      // Its close may have come before there was a listener.
      if (!link.has(model)) throw connectionLost('open a channel', undefined)

      this.#channel = channel
      this.#outlet = outlet
      this.#isStuffed = false
      this.#endReplays()
      this.#write()
    } catch (error) {
      throw explain(error, 'open a channel')
    }
  }

  async #reopen(): Promise<void> {
    if (this.#isOpening) return

    const { link, settings } = this.#parts
    this.#isOpening = true
    let delay = 0
    for (let retry = 0; !this.#isClosed && this.#channel === undefined; retry += 1) {
      try {
        await this.#emptied
        await this.#open(await link.whenUp('publish'))
      } catch {
        if (link.state === 'closed') break
        // What waits is settled by its deadline, whatever keeps the channel from opening.
        delay = settings.reconnect(retry, delay, Math.random)
        await this.#nap.sleep(delay)
      }
    }
    this.#isOpening = false
  }

  #lost(channel: ConfirmChannel, cause: unknown): void {
    if (this.#channel !== channel) return

    this.#emptied = this.#outlet?.emptied() ?? Promise.resolve()
    this.#channel = undefined
    this.#outlet = undefined
    const unconfirmed = [...this.#written]
    this.#written = new ByTag()
    const again: Entry[] = []
    for (const entry of unconfirmed) {
      const refusal = this.#refusalOf(entry, cause) ?? this.#replayRefusalOf(entry, cause)
      if (refusal === undefined) again.push(entry)
      else {
        this.#leave(entry)
        this.#settle(entry, refusal)
      }
    }
    for (const entry of again) entry.isReturned = false
    this.#unwritten.unshift(again)
    this.#armReplaySweep()
    this.#letIn()
    void this.#reopen()
  }

  /** Whether this message is why the broker closed the channel, so that writing it again would close the next one. */
  #refusalOf(entry: Entry, cause: unknown): unknown {
    if (cause === undefined) return undefined

    const { parcel, sends } = entry
    const exchange = guiltyExchange(cause)
    const { code } = cause as { code?: unknown }
    if (exchange !== undefined) {
      const isHopeless = code === 403 || this.#parts.settings.topology !== 'declare'
      return exchange === parcel.exchange && isHopeless ? explain(cause, doingOf(parcel)) : undefined
    }
    const largest = largestMessage(cause)
    if (largest !== undefined) {
      const { length } = parcel.message.body
      const problem = `its ${length} bytes are more than the ${largest} that the broker takes`
      return length > largest ? tooLarge(parcel, problem, cause) : undefined
    }

    return sends < SUSPICIOUS ? undefined : nacked(entry, textOf(cause), cause)
  }

  #replayRefusalOf(entry: Entry, cause: unknown): MessagingError | undefined {
    const { sends, parcel } = entry

    return replayRefusal({ doing: doingOf(parcel), sends, age: this.#ageOf(entry) }, this.#parts.settings.replay, cause)
  }

  /** In ms since its publish. */
  #ageOf({ deadline }: Entry): number {
    const { settings, time } = this.#parts

    return time.now() - (deadline - settings.confirmTimeout)
  }

  /** While there is no channel, what waits to be sent again may get too old for it. */
  #armReplaySweep(): void {
    const { settings, time } = this.#parts
    const { maxAge } = settings.replay
    // What is to be sent again is in front, the oldest first.
    const first = this.#unwritten.peek()
    const isBounded = maxAge < settings.confirmTimeout && first !== undefined && first.sends > 0
    if (!isBounded || this.#cancelReplaySweep !== undefined) return

    this.#cancelReplaySweep = time.after(Math.max(0, Math.ceil(maxAge - this.#ageOf(first))) + GATHER, () => {
      this.#cancelReplaySweep = undefined
      this.#endReplays()
      this.#armReplaySweep()
    })
  }

  #endReplays(): void {
    const first = this.#unwritten.peek()
    if (first === undefined || first.sends === 0 || this.#ageOf(first) < this.#parts.settings.replay.maxAge) return

    this.#unwritten.keep((entry) => {
      const refusal = entry.sends > 0 ? this.#replayRefusalOf(entry, undefined) : undefined
      if (refusal === undefined) return true
      this.#leave(entry)
      this.#settle(entry, refusal)
      return false
    })
    this.#letIn()
  }

  #confirmed(channel: ConfirmChannel, tag: number, multiple: boolean, isTaken: boolean): void {
    if (this.#channel !== channel) return

    if (multiple) for (let each = this.#written.first; each < tag; each += 1) this.#settleTag(each, isTaken)
    this.#settleTag(tag, isTaken)
    this.#letIn()
  }

  #settleTag(tag: number, isTaken: boolean): void {
    const entry = this.#written.take(tag)
    if (entry === undefined) return

    this.#leave(entry)
    if (!isTaken) this.#settle(entry, nacked(entry, 'a queue of it is full or failing', undefined))
    else this.#settle(entry, entry.isReturned ? entry.parcel.onReturned?.(entry.parcel) : undefined)
  }

  /** Comes before the confirm of the same message; the broker does not say which, so it is the first that looks like it. */
  #returned(channel: ConfirmChannel, { fields, properties }: Message): void {
    if (this.#channel !== channel) return

    for (const entry of this.#written) {
      const { parcel } = entry
      const isIt =
        !entry.isReturned &&
        parcel.onReturned !== undefined &&
        parcel.message.id === properties.messageId &&
        parcel.key === fields.routingKey &&
        parcel.exchange === fields.exchange
      if (!isIt) continue

      entry.isReturned = true
      return
    }
  }

  #settle(entry: Entry, error: unknown): void {
    if (entry.isSettled) return

    entry.isSettled = true
    this.#live.delete(entry)
    if (error === undefined) entry.resolve()
    else entry.reject(error)
  }

  #armSweep(): void {
    if (this.#cancelSweep !== undefined) return
    const [first] = this.#live
    if (first === undefined) return

    const { time } = this.#parts
    this.#cancelSweep = time.after(Math.max(0, Math.ceil(first.deadline - time.now())) + GATHER, () => {
      this.#cancelSweep = undefined
      this.#sweep()
      this.#armSweep()
    })
  }

  #sweep(): void {
    const now = this.#parts.time.now()
    const waiting = this.#waiting.size
    let expired = 0
    for (const entry of this.#live) {
      if (entry.deadline > now) break

      expired += 1
      this.#settle(entry, this.#lateness(entry))
      if (this.#written.get(entry.tag) === entry) {
        this.#written.take(entry.tag)
        this.#leave(entry)
      }
    }
    if (expired === 0) return

    this.#unwritten.keep((entry) => {
      if (entry.isSettled) this.#leave(entry)
      return !entry.isSettled
    })
    if (waiting > 0) this.#waiting.keep((entry) => !entry.isSettled)
    this.#letIn()
  }

  #lateness(entry: Entry): MessagingError {
    const { link, settings } = this.#parts
    const wasSent = entry.sends > 0
    if (this.#channel === undefined) return connectionLost(doingOf(entry.parcel), undefined, { wasSent })

    const isInWindow = this.#written.get(entry.tag) === entry || link.blocked || wasSent
    return isInWindow
      ? unconfirmed(entry, settings.confirmTimeout, link.blocked)
      : windowFull(entry.parcel, this.#count)
  }
}

function unconfirmed({ parcel, sends }: Entry, timeout: number, isBlocked: boolean): MessagingError {
  const why = isBlocked ? ', which takes nothing for now' : ''
  const problem = `could not ${doingOf(parcel)}: no confirm within ${timeout} ms from the broker${why}${sends > 0 ? '; it may have it all the same' : ''}`

  return new MessagingError('MSX_CONFIRM_TIMEOUT', problem, {
    retryable: true,
    details: { timeout, wasSent: sends > 0 },
  })
}

function windowFull(parcel: Parcel, inFlight: number): MessagingError {
  const problem = `could not ${doingOf(parcel)}: ${inFlight} messages are without the broker's confirm already`

  return new MessagingError('MSX_WINDOW_FULL', problem, { retryable: true, details: { inFlight } })
}

function nacked({ parcel, sends }: Entry, why: string, cause: unknown): MessagingError {
  return new MessagingError('MSX_NACKED', `could not ${doingOf(parcel)}: the broker did not take it: ${why}`, {
    retryable: true,
    cause,
    details: { sends },
  })
}

function tooLarge(parcel: Parcel, why: string, cause: unknown): MessagingError {
  return new MessagingError('MSX_TOO_LARGE', `could not ${doingOf(parcel)}: ${why}`, { retryable: false, cause })
}
