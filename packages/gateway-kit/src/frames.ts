import { randomBytes } from 'node:crypto'

/** "Going away" (RFC 6455, 7.4.1): the server goes down, the other side may come again. */
const GOING_AWAY = 1_001

const CLOSE = 0x8

/** A Close frame. Frames from a client are masked by what nobody can foresee (RFC 6455, 5.3). */
export function goingAway(masked: boolean): Buffer {
  const payload = Buffer.from([GOING_AWAY >> 8, GOING_AWAY & 0xff])
  if (!masked) return Buffer.from([0x80 | CLOSE, payload.length, ...payload])

  const mask = randomBytes(4)
  return Buffer.from([
    0x80 | CLOSE,
    0x80 | payload.length,
    ...mask,
    ...payload.map((byte, index) => byte ^ mask[index]!),
  ])
}

/**
 * Finds where the frames of one direction of a WebSocket begin and end (RFC 6455, 5.2). Payloads are passed over,
 * nothing is kept of them. Bytes that are no frames make it blind for good: it then knows of no boundary.
 */
export class FrameReader {
  readonly #masked: boolean
  /** Two bytes, the longest length, and a mask. */
  readonly #head: Buffer = Buffer.alloc(14)
  #have = 0
  /** Of the payload. */
  #left = 0
  #inFrame = false
  #inMessage = false
  #blind = false
  #closed = false

  /** @param masked Whether this direction is that of the client, whose frames are masked. */
  constructor(masked: boolean) {
    this.#masked = masked
  }

  /** Whether a Close frame has passed, after which no other frame may follow. */
  get closed(): boolean {
    return this.#closed
  }

  /** Whether a control frame may stand here. */
  get betweenFrames(): boolean {
    return !this.#blind && !this.#inFrame && this.#have === 0
  }

  /** The same, where it does not part a message from its rest. */
  get betweenMessages(): boolean {
    return this.betweenFrames && !this.#inMessage
  }

  /**
   * Reads on and says how many bytes it took: all of them, or with `stop` those to the end of the message that is under
   * way.
   */
  read(chunk: Buffer, stop: boolean): number {
    let at = 0
    while (at < chunk.length) {
      if (this.#blind) return chunk.length

      at += this.#inFrame ? this.#skip(chunk.length - at) : this.#readHead(chunk, at)
      if (this.#inFrame && this.#left === 0) this.#end()
      if (stop && this.betweenMessages) return at
    }
    return at
  }

  #skip(most: number): number {
    const count = Math.min(this.#left, most)
    this.#left -= count
    return count
  }

  #readHead(chunk: Buffer, from: number): number {
    let at = from
    while (at < chunk.length && !this.#inFrame && !this.#blind) {
      this.#head[this.#have] = chunk[at]!
      this.#have += 1
      at += 1
      if (this.#have === 2) this.#blind = !this.#isFrame(this.#head[0]!, this.#head[1]!)
      if (!this.#blind && this.#have >= 2 && this.#have === this.#headLength()) this.#begin()
    }
    return at - from
  }

  #headLength(): number {
    const length = this.#head[1]! & 0x7f

    return 2 + (length === 126 ? 2 : length === 127 ? 8 : 0) + (this.#masked ? 4 : 0)
  }

  #begin(): void {
    const length = this.#head[1]! & 0x7f
    this.#left = length
    if (length === 126) this.#left = this.#head.readUInt16BE(2)
    else if (length === 127) this.#left = Number(this.#head.readBigUInt64BE(2))
    this.#blind = !Number.isSafeInteger(this.#left)
    this.#inFrame = true
    this.#have = 0
  }

  #end(): void {
    const first = this.#head[0]!
    this.#inFrame = false
    if ((first & 0x8) === 0) this.#inMessage = (first & 0x80) === 0
    else if ((first & 0xf) === CLOSE) this.#closed = true
  }

  /** Of the reserved bits only that of compression (RFC 7692) is in use. */
  #isFrame(first: number, second: number): boolean {
    const opcode = first & 0xf
    if ((first & 0x30) !== 0 || (second & 0x80) !== (this.#masked ? 0x80 : 0)) return false
    if (opcode >= 0x8) return opcode <= 0xa && (first & 0x80) !== 0 && (second & 0x7f) <= 125

    return opcode <= 0x2 && (opcode === 0) === this.#inMessage
  }
}
