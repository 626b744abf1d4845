import type { Duplex } from 'node:stream'
import { FrameReader, goingAway } from './frames.js'

/** One direction of a WebSocket: bytes go through as they are, no faster than they are taken. */
export class Flow {
  readonly #source: Duplex
  readonly #sink: Duplex
  readonly #masked: boolean
  readonly #reader: FrameReader
  readonly #onBytes: () => void
  /** What to tell once the other end has been told that it is over. */
  #parting: (() => void) | undefined
  /** Nothing follows a Close frame. */
  #over = false

  /**
   * @param masked Whether the source is the client.
   * @param onBytes Hears of every piece.
   */
  constructor(source: Duplex, sink: Duplex, masked: boolean, onBytes: () => void) {
    this.#source = source
    this.#sink = sink
    this.#masked = masked
    this.#reader = new FrameReader(masked)
    this.#onBytes = onBytes
  }

  start(early: readonly Buffer[]): void {
    for (const chunk of early) if (chunk.byteLength > 0) this.#push(chunk)
    this.#source.on('data', this.#push).once('end', () => this.#sink.end())
    this.#sink.on('drain', () => this.#source.resume())
    if (!this.#sink.writableNeedDrain) this.#source.resume()
  }

  /** Tells the sink that it is over, between this message and the next; at once where there is none under way. */
  part(parted: () => void): void {
    this.#parting = parted
    if (this.#reader.betweenMessages) this.#part()
  }

  /** The same between two frames, now or never. */
  partNow(): void {
    if (!this.#over && !this.#reader.closed && this.#reader.betweenFrames) this.#part()
  }

  #part(): void {
    const parted = this.#parting
    this.#parting = undefined
    if (!this.#over && !this.#reader.closed && this.#sink.writable) this.#sink.write(goingAway(this.#masked))
    this.#over = true
    // What is still to come is read and thrown away: only so the end of the connection is seen.
    this.#source.resume()
    parted?.()
  }

  readonly #push = (chunk: Buffer): void => {
    this.#onBytes()
    if (this.#over || !this.#sink.writable) return

    const taken = this.#reader.read(chunk, this.#parting !== undefined)
    const more = this.#sink.write(taken === chunk.byteLength ? chunk : chunk.subarray(0, taken))
    if (this.#parting !== undefined && this.#reader.betweenMessages) this.#part()
    else if (!more) this.#source.pause()
  }
}
