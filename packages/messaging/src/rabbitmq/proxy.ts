import { connect, createServer, type Socket } from 'node:net'

/** A way to the broker that a test can break. */
export interface BreakableLine {
  readonly url: string
  /** How many connections were made through it. */
  readonly made: number
  /** Breaks every connection, as a pulled plug does. */
  cut(): void
  /** Makes the broker close each channel that consumes, and nothing else: it is told something in the client's name. */
  breakConsumers(): void
  /** Breaks every connection in the middle of the next thing that is said on it, by either side. */
  tear(): void
  /** From now on nothing the broker says comes through, on the connections that there are. */
  mute(): void
  /** From now on the broker's confirms do not come through, on new connections. */
  holdConfirms(): void
  /** New connections are dropped at once. */
  refuse(isRefusing: boolean): void
  /** Says something to every client in the name of the broker, which must be silent meanwhile. */
  say(frame: Uint8Array): void
  close(): Promise<void>
}

interface Pair {
  readonly client: Socket
  readonly server: Socket
  isMuted: boolean
  isTearing: boolean
  /** Channels that a consumer was asked for on. */
  readonly consuming: Set<number>
}

export async function proxyTo(url: string): Promise<BreakableLine> {
  const target = new URL(url)
  const pairs = new Set<Pair>()
  let isRefusing = false
  let isHoldingConfirms = false
  let made = 0

  const listener = createServer((client) => {
    client.on('error', () => {})
    if (isRefusing) {
      client.destroy()
      return
    }

    made += 1
    const server = connect(Number(target.port || 5672), target.hostname)
    const pair: Pair = { client, server, isMuted: false, isTearing: false, consuming: new Set() }
    pairs.add(pair)
    server.on('error', () => {})
    const pass = (to: Socket, data: Buffer): void => {
      // Not a whole frame: the shortest has eight bytes.
      if (pair.isTearing) to.write(data.subarray(0, Math.max(1, data.length - 5)), () => reset(pair))
      else to.write(data)
    }
    const without = isHoldingConfirms ? confirmFilter() : undefined
    server.on('data', (data) => {
      if (!pair.isMuted) pass(client, without === undefined ? data : without(data))
    })
    const listen = frameReader(({ channel, classId, methodId }) => {
      if (classId === BASIC_CLASS && methodId === BASIC_CONSUME) pair.consuming.add(channel)
    })
    client.on('data', (data) => {
      listen(data)
      pass(server, data)
    })
    client.on('close', () => {
      pairs.delete(pair)
      server.destroy()
    })
    server.on('close', () => client.destroy())
  })
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve))
  const { port } = listener.address() as { port: number }
  const own = new URL(url)
  own.hostname = '127.0.0.1'
  own.port = String(port)

  return {
    url: own.href,
    get made() {
      return made
    },
    cut() {
      for (const pair of pairs) reset(pair)
    },
    breakConsumers() {
      for (const { server, consuming } of pairs) {
        for (const channel of consuming) server.write(ackFrame(channel, NO_SUCH_TAG))
        consuming.clear()
      }
    },
    tear() {
      for (const pair of pairs) pair.isTearing = true
    },
    mute() {
      for (const pair of pairs) pair.isMuted = true
    },
    holdConfirms() {
      isHoldingConfirms = true
    },
    refuse(should) {
      isRefusing = should
    },
    say(frame) {
      for (const { client } of pairs) client.write(frame)
    },
    close() {
      for (const { client } of pairs) client.destroy()
      return new Promise((resolve) => listener.close(() => resolve()))
    },
  }
}

function reset({ client, server }: Pair): void {
  client.resetAndDestroy()
  server.resetAndDestroy()
}

const BASIC_CLASS = 60
const BASIC_CONSUME = 20
const BASIC_ACK = 80
const BASIC_NACK = 120
const METHOD_FRAME = 1

/** A delivery that was never made: settling it is an error of the channel. */
const NO_SUCH_TAG = 1_000_000_000n

interface Method {
  readonly channel: number
  readonly classId: number
  readonly methodId: number
}

/** Finds the methods in what a client says, which begins with eight bytes that are no frame. */
function frameReader(onMethod: (method: Method) => void): (data: Buffer) => void {
  let rest = Buffer.alloc(0)
  let isGreeted = false

  return (data) => {
    rest = Buffer.concat([rest, data])
    if (!isGreeted && rest.length >= 8) {
      rest = rest.subarray(8)
      isGreeted = true
    }
    for (;;) {
      const end = isGreeted && rest.length >= 7 ? 8 + rest.readUInt32BE(3) : Number.POSITIVE_INFINITY
      if (rest.length < end) return

      if (rest.readUInt8(0) === METHOD_FRAME) {
        onMethod({ channel: rest.readUInt16BE(1), classId: rest.readUInt16BE(7), methodId: rest.readUInt16BE(9) })
      }
      rest = rest.subarray(end)
    }
  }
}

/** Lets through all that a broker says but acks and nacks. */
function confirmFilter(): (data: Buffer) => Buffer {
  let rest = Buffer.alloc(0)

  return (data) => {
    rest = Buffer.concat([rest, data])
    const passing: Buffer[] = []
    for (;;) {
      const end = rest.length >= 7 ? 8 + rest.readUInt32BE(3) : Number.POSITIVE_INFINITY
      if (rest.length < end) return Buffer.concat(passing)

      const isConfirm =
        rest.readUInt8(0) === METHOD_FRAME &&
        rest.readUInt16BE(7) === BASIC_CLASS &&
        [BASIC_ACK, BASIC_NACK].includes(rest.readUInt16BE(9))
      if (!isConfirm) passing.push(rest.subarray(0, end))
      rest = rest.subarray(end)
    }
  }
}

function ackFrame(channel: number, tag: bigint): Uint8Array {
  const fields = Buffer.alloc(9)
  fields.writeBigUInt64BE(tag)

  return methodFrame(channel, BASIC_CLASS, BASIC_ACK, fields)
}

/** connection.blocked and connection.unblocked, as in RabbitMQ's extension of AMQP 0-9-1. */
export function blockedFrame(reason: string): Uint8Array {
  return methodFrame(0, CONNECTION_CLASS, 60, Buffer.concat([Buffer.from([reason.length]), Buffer.from(reason)]))
}

export function unblockedFrame(): Uint8Array {
  return methodFrame(0, CONNECTION_CLASS, 61, Buffer.alloc(0))
}

const CONNECTION_CLASS = 10

function methodFrame(channel: number, classId: number, method: number, fields: Buffer): Uint8Array {
  const head = Buffer.alloc(11)
  head.writeUInt8(METHOD_FRAME, 0)
  head.writeUInt16BE(channel, 1)
  head.writeUInt32BE(4 + fields.length, 3)
  head.writeUInt16BE(classId, 7)
  head.writeUInt16BE(method, 9)

  return Buffer.concat([head, fields, Buffer.from([0xce])])
}
