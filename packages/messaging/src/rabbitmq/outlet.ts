import type { EventEmitter } from 'node:events'
import type { Duplex } from 'node:stream'
import type { ConfirmChannel } from 'amqplib'
import type { Parcel } from './parcel.js'
import { PublishFrames } from './publish-frames.js'
import { toProperties } from './wire.js'

/** Where messages go onto a channel, in the order of the calls. */
export interface Outlet {
  /**
   * False when the channel has enough for now; its 'drain' follows.
   *
   * @throws IllegalOperationError when the channel is on its way out. Another error: nothing of the message was written.
   */
  write(parcel: Parcel): boolean
  /**
   * For a channel that was closed: resolves when what is left of it is on its way. amqplib gives its number to the next
   * channel at once, and over one that opens before the goodbye of the last one the broker ends the connection.
   */
  emptied(): Promise<void>
}

/**
 * amqplib spends more time on the properties of a message than everything else about it takes, so its frames are made
 * here where that can be. Where amqplib is not as it was in 2.3, it publishes.
 */
export function openOutlet(channel: ConfirmChannel): Outlet {
  const insides = insidesOf(channel)

  return insides === undefined ? new PlainOutlet(channel) : new FrameOutlet(channel, insides)
}

/** What amqplib is asked to do by its name. */
export class PlainOutlet implements Outlet {
  readonly #channel: ConfirmChannel

  constructor(channel: ConfirmChannel) {
    this.#channel = channel
  }

  write({ exchange, key, message, sent, onReturned }: Parcel): boolean {
    const { body } = message
    const bytes = Buffer.isBuffer(body) ? body : Buffer.from(body.buffer, body.byteOffset, body.byteLength)

    return this.#channel.publish(exchange, key, bytes, toProperties(message, sent, onReturned !== undefined))
  }

  emptied(): Promise<void> {
    return Promise.resolve()
  }
}

/** The part of amqplib 2.3 that has no names for others. */
interface Insides {
  readonly number: number
  readonly connection: EventEmitter & {
    sentSinceLastCheck: boolean
    readonly frameMax: number
    readonly sendMessage: unknown
  }
  /** Takes whole frames of the channel, in order with amqplib's own. */
  readonly buffer: Duplex
}

/** Undefined unless everything is there, and as it was. */
export function insidesOf(channel: ConfirmChannel): Insides | undefined {
  const { ch: number, connection, sendMessage, unconfirmed } = channel as unknown as Record<string, unknown>
  if (typeof number !== 'number' || typeof connection !== 'object' || connection === null) return undefined
  if (typeof sendMessage !== 'function' || !Array.isArray(unconfirmed) || unconfirmed.length > 0) return undefined

  const { frameMax, channels, sentSinceLastCheck, sendMessage: sendOn } = connection as Record<string, unknown>
  if (typeof frameMax !== 'number' || frameMax < SMALLEST_FRAME_MAX) return undefined
  if (typeof sentSinceLastCheck !== 'boolean' || typeof sendOn !== 'function') return undefined

  const { channel: own, buffer } = ((channels as unknown[] | undefined)?.[number] ?? {}) as Record<string, unknown>
  if (own !== channel) return undefined
  const { write, writableObjectMode } = buffer as Duplex
  if (typeof write !== 'function' || writableObjectMode !== true) return undefined

  return { number, connection: connection as unknown as Insides['connection'], buffer: buffer as Duplex }
}

/** Of AMQP 0-9-1. */
const SMALLEST_FRAME_MAX = 4_096

/** What is written in one turn is handed on in pieces of this size, in bytes. */
const PIECE = 65_536

/** Writes the frames of all messages of a turn one behind the other, and hands them on at its end. */
export class FrameOutlet implements Outlet {
  readonly #channel: ConfirmChannel
  readonly #plain: PlainOutlet
  readonly #insides: Insides
  readonly #frames: PublishFrames
  /** amqplib puts others in their place when the channel, or the connection, closes. */
  readonly #sendMessage: unknown
  readonly #sendOn: unknown
  #piece: Buffer = Buffer.alloc(0)
  #start = 0
  #end = 0
  #isFull = false
  #isGathering = false

  constructor(channel: ConfirmChannel, insides: Insides) {
    this.#channel = channel
    this.#plain = new PlainOutlet(channel)
    this.#insides = insides
    this.#frames = new PublishFrames(insides.number, insides.connection.frameMax)
    this.#sendMessage = this.#channelNow
    this.#sendOn = insides.connection.sendMessage
    // amqplib counts the messages that it published itself; it has none here to settle.
    channel.removeAllListeners('ack')
    channel.removeAllListeners('nack')
    channel.on('drain', () => {
      this.#isFull = false
    })
  }

  write(parcel: Parcel): boolean {
    // Says why not.
    if (!this.#isOpen()) return this.#plain.write(parcel)

    const { body } = parcel.message
    const head = this.#frames.head(parcel)
    this.#makeRoom(head.length + this.#frames.sizeOf(body))
    this.#piece.set(head, this.#end)
    this.#end = this.#frames.writeBody(body, this.#piece, this.#end + head.length)
    if (!this.#isGathering) {
      this.#isGathering = true
      process.nextTick(this.#flush)
    }
    return !this.#isFull
  }

  emptied(): Promise<void> {
    const { buffer, connection } = this.#insides
    if (buffer.readableEnded) return Promise.resolve()

    return new Promise((resolve) => {
      const done = (): void => {
        buffer.off('end', done)
        connection.off('close', done)
        resolve()
      }
      buffer.on('end', done)
      connection.on('close', done)
    })
  }

  get #channelNow(): unknown {
    return (this.#channel as unknown as { readonly sendMessage: unknown }).sendMessage
  }

  #isOpen(): boolean {
    return this.#channelNow === this.#sendMessage && this.#insides.connection.sendMessage === this.#sendOn
  }

  #makeRoom(size: number): void {
    if (this.#end + size <= this.#piece.length) return

    this.#handOn()
    this.#piece = Buffer.allocUnsafeSlow(Math.max(PIECE, size))
    this.#start = 0
    this.#end = 0
  }

  readonly #flush = (): void => {
    this.#isGathering = false
    this.#handOn()
  }

  #handOn(): void {
    const { connection, buffer } = this.#insides
    const bytes = this.#piece.subarray(this.#start, this.#end)
    this.#start = this.#end
    // Behind its goodbye the broker would take it for nonsense. It is written again on the next channel.
    if (bytes.length === 0 || !this.#isOpen()) return

    connection.sentSinceLastCheck = true
    if (!buffer.write(bytes)) this.#isFull = true
  }
}
