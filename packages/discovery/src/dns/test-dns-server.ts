import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'

export type Answer = AddressAnswer | SrvAnswer

interface AddressAnswer {
  readonly type: 'A' | 'AAAA'
  readonly address: string
  readonly ttl?: number
}

interface SrvAnswer {
  readonly type: 'SRV'
  readonly target: string
  readonly port: number
  readonly priority?: number
  readonly weight?: number
}

/** What the server does for a name: answer, refuse with a code, or keep silent. */
export type Zone = readonly Answer[] | 'NXDOMAIN' | 'SERVFAIL' | 'silence'

const TYPES = { A: 1, AAAA: 28, SRV: 33 } as const
const CODES = { SERVFAIL: 2, NXDOMAIN: 3 } as const

/** A DNS server (RFC 1035) on a UDP socket of its own, with one zone per name. Names it does not have are NXDOMAIN. */
export class TestDnsServer {
  readonly zones: Map<string, Zone> = new Map()
  /** All questions so far, such as `A users.test`. */
  readonly questions: string[] = []
  readonly #socket: Socket = createSocket('udp4')
  #failing: Zone | undefined

  static async start(zones: Record<string, Zone> = {}): Promise<TestDnsServer> {
    const server = new TestDnsServer()
    for (const [name, zone] of Object.entries(zones)) server.zones.set(name, zone)
    server.#socket.on('message', (query, peer) => {
      const reply = server.#reply(query)
      if (reply !== undefined) server.#socket.send(reply, peer.port, peer.address)
    })
    server.#socket.bind(0, '127.0.0.1')
    await once(server.#socket, 'listening')
    return server
  }

  get address(): string {
    return `127.0.0.1:${this.#socket.address().port}`
  }

  /** Does the same for every name until the returned function is called. */
  fail(how: 'SERVFAIL' | 'silence'): () => void {
    this.#failing = how
    return () => {
      this.#failing = undefined
    }
  }

  async close(): Promise<void> {
    this.#socket.close()
    await once(this.#socket, 'close')
  }

  #reply(query: Buffer): Buffer | undefined {
    const { name, end } = readName(query, 12)
    const type = query.readUInt16BE(end)
    this.questions.push(`${nameOfType(type)} ${name}`)

    const zone = this.#failing ?? this.zones.get(name) ?? 'NXDOMAIN'
    if (zone === 'silence') return undefined

    const answers = typeof zone === 'string' ? [] : zone.filter((answer) => TYPES[answer.type] === type)
    const header = Buffer.alloc(12)
    query.copy(header, 0, 0, 2)
    // A response, authoritative, recursion desired and available.
    header.writeUInt16BE(0x8580 | (typeof zone === 'string' ? CODES[zone] : 0), 2)
    header.writeUInt16BE(1, 4)
    header.writeUInt16BE(answers.length, 6)
    return Buffer.concat([header, query.subarray(12, end + 4), ...answers.map(encodeAnswer)])
  }
}

/** A service at addresses, as SRV records with a target for each. */
export function srvZones(name: string, endpoints: readonly { host: string; port: number }[]): Record<string, Zone> {
  const targetOf = (host: string) => `host-${host.replaceAll('.', '-')}.test`
  return {
    [name]: endpoints.map(({ host, port }) => ({ type: 'SRV' as const, target: targetOf(host), port })),
    ...Object.fromEntries(endpoints.map(({ host }) => [targetOf(host), [{ type: 'A' as const, address: host }]])),
  }
}

function encodeAnswer(answer: Answer): Buffer {
  const data = encodeData(answer)
  const head = Buffer.alloc(12)
  head.writeUInt16BE(0xc00c, 0) // the name in the question
  head.writeUInt16BE(TYPES[answer.type], 2)
  head.writeUInt16BE(1, 4)
  head.writeUInt32BE(answer.type === 'SRV' ? 0 : (answer.ttl ?? 0), 6)
  head.writeUInt16BE(data.length, 10)
  return Buffer.concat([head, data])
}

function encodeData(answer: Answer): Buffer {
  if (answer.type !== 'SRV') {
    return answer.type === 'A' ? Buffer.from(answer.address.split('.').map(Number)) : encodeIPv6(answer.address)
  }

  const numbers = Buffer.alloc(6)
  numbers.writeUInt16BE(answer.priority ?? 0, 0)
  numbers.writeUInt16BE(answer.weight ?? 1, 2)
  numbers.writeUInt16BE(answer.port, 4)
  return Buffer.concat([numbers, encodeName(answer.target)])
}

function encodeIPv6(address: string): Buffer {
  const [left = '', right] = address.split('::')
  const groups = (text: string) => (text === '' ? [] : text.split(':').map((group) => Number.parseInt(group, 16)))
  const tail = groups(right ?? '')
  const all = [...groups(left), ...Array(8 - groups(left).length - tail.length).fill(0), ...tail]
  return Buffer.from(all.flatMap((group) => [group >> 8, group & 0xff]))
}

function encodeName(name: string): Buffer {
  const labels = name.split('.').filter((label) => label !== '')
  return Buffer.concat([...labels.map((label) => Buffer.from([label.length, ...Buffer.from(label)])), Buffer.from([0])])
}

function readName(query: Buffer, start: number): { name: string; end: number } {
  const labels: string[] = []
  let at = start
  for (let length = query[at]!; length !== 0; length = query[at]!) {
    labels.push(query.toString('latin1', at + 1, at + 1 + length).toLowerCase())
    at += 1 + length
  }
  return { name: labels.join('.'), end: at + 1 }
}

function nameOfType(type: number): string {
  return Object.entries(TYPES).find(([, code]) => code === type)?.[0] ?? String(type)
}
