import { connect, createServer, type Socket } from 'node:net'

/** A way to the broker that a test can break. */
export interface BreakableLine {
  readonly url: string
  /** How many connections were made through it. */
  readonly made: number
  /** Breaks every connection, as a pulled plug does. */
  cut(): void
  /** Breaks every connection in the middle of the next thing that is said on it, by either side. */
  tear(): void
  /** From now on nothing the broker says comes through, on the connections that there are. */
  mute(): void
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
}

export async function proxyTo(url: string): Promise<BreakableLine> {
  const target = new URL(url)
  const pairs = new Set<Pair>()
  let isRefusing = false
  let made = 0

  const listener = createServer((client) => {
    client.on('error', () => {})
    if (isRefusing) {
      client.destroy()
      return
    }

    made += 1
    const server = connect(Number(target.port || 5672), target.hostname)
    const pair: Pair = { client, server, isMuted: false, isTearing: false }
    pairs.add(pair)
    server.on('error', () => {})
    const pass = (to: Socket, data: Buffer): void => {
      // Not a whole frame: the shortest has eight bytes.
      if (pair.isTearing) to.write(data.subarray(0, Math.max(1, data.length - 5)), () => reset(pair))
      else to.write(data)
    }
    server.on('data', (data) => {
      if (!pair.isMuted) pass(client, data)
    })
    client.on('data', (data) => pass(server, data))
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
    tear() {
      for (const pair of pairs) pair.isTearing = true
    },
    mute() {
      for (const pair of pairs) pair.isMuted = true
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

/** connection.blocked and connection.unblocked, as in RabbitMQ's extension of AMQP 0-9-1. */
export function blockedFrame(reason: string): Uint8Array {
  return methodFrame(60, Buffer.concat([Buffer.from([reason.length]), Buffer.from(reason)]))
}

export function unblockedFrame(): Uint8Array {
  return methodFrame(61, Buffer.alloc(0))
}

const CONNECTION_CLASS = 10

function methodFrame(method: number, fields: Buffer): Uint8Array {
  const head = Buffer.alloc(11)
  head.writeUInt8(1, 0)
  head.writeUInt32BE(4 + fields.length, 3)
  head.writeUInt16BE(CONNECTION_CLASS, 7)
  head.writeUInt16BE(method, 9)

  return Buffer.concat([head, fields, Buffer.from([0xce])])
}
