import { connect, type TLSSocket } from 'node:tls'
import { onTestFinished } from 'vitest'

export const DATA = 0
export const HEADERS = 1
export const RST_STREAM = 3
export const SETTINGS = 4
export const PING = 6
const GOAWAY = 7
export const CONTINUATION = 9

export const END_STREAM = 0x1
export const ACK = 0x1
export const END_HEADERS = 0x4

export interface Frame {
  readonly type: number
  readonly flags: number
  readonly stream: number
  readonly payload: Buffer
}

/** A frame of HTTP/2 (RFC 9113, 4.1). */
export function frame(type: number, flags: number, stream: number, payload: Buffer | string = ''): Buffer {
  const bytes = Buffer.from(payload as string, 'latin1')
  const head = Buffer.alloc(9)
  head.writeUIntBE(bytes.length, 0, 3)
  head[3] = type
  head[4] = flags
  head.writeUInt32BE(stream, 5)
  return Buffer.concat([head, bytes])
}

/** `GET / HTTP/2` on the authority `a`, packed (RFC 7541). */
export const GET: Buffer = Buffer.from([0x82, 0x87, 0x84, 0x41, 1, 0x61])

/** A number as the payload of RST_STREAM and the like. */
export function word(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

export interface RawHttp2 {
  readonly socket: TLSSocket
  readonly frames: readonly Frame[]
  readonly closed: Promise<void>
  /** The codes of what was said by GOAWAY. */
  goneAway(): readonly number[]
}

/** A client of HTTP/2 that sends what the test says, and nothing else but its preface. */
export async function rawHttp2(port: number, preface = true): Promise<RawHttp2> {
  const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false, ALPNProtocols: ['h2'] })
  const frames: Frame[] = []
  let rest = Buffer.alloc(0)
  socket.on('data', (chunk: Buffer) => {
    rest = Buffer.concat([rest, chunk])
    while (rest.length >= 9 && rest.length >= 9 + rest.readUIntBE(0, 3)) {
      const length = rest.readUIntBE(0, 3)
      frames.push({
        type: rest[3]!,
        flags: rest[4]!,
        stream: rest.readUInt32BE(5),
        payload: Buffer.from(rest.subarray(9, 9 + length)),
      })
      rest = rest.subarray(9 + length)
    }
  })
  socket.on('error', () => {})
  onTestFinished(() => void socket.destroy())
  const closed = new Promise<void>((resolve) => void socket.once('close', () => resolve()))
  await new Promise<void>((resolve) => void socket.once('secureConnect', () => resolve()))
  if (preface) socket.write(Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), frame(SETTINGS, 0, 0)]))

  return {
    socket,
    frames,
    closed,
    goneAway: () => frames.filter(({ type }) => type === GOAWAY).map(({ payload }) => payload.readUInt32BE(4)),
  }
}
