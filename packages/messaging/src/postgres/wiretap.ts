import { connect, createServer } from 'node:net'

/** A way to the database that writes down what is said on it. */
export interface Wiretap {
  readonly url: string
  /** The text of each statement, in the order in which the database was given them. */
  readonly statements: string[]
  close(): Promise<void>
}

/** The frontend's messages that bring a statement: a simple query, and one that is parsed first. */
const QUERY = 'Q'.charCodeAt(0)
const PARSE = 'P'.charCodeAt(0)

export async function wiretapOn(url: string): Promise<Wiretap> {
  const target = new URL(url)
  const statements: string[] = []
  const listener = createServer((client) => {
    const server = connect(Number(target.port || 5432), target.hostname)
    const read = statementReader((text) => statements.push(text))
    for (const [from, to] of [
      [client, server],
      [server, client],
    ] as const) {
      from.on('error', () => {})
      from.on('close', () => to.destroy())
      from.on('data', (data) => {
        if (from === client) read(data)
        to.write(data)
      })
    }
  })
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve))
  const own = new URL(url)
  own.hostname = '127.0.0.1'
  own.port = String((listener.address() as { port: number }).port)

  return {
    url: own.href,
    statements,
    close: () => new Promise((resolve) => listener.close(() => resolve())),
  }
}

/** Of PostgreSQL's protocol 3: the first message has no type, each other one has, and its length. */
function statementReader(onStatement: (text: string) => void): (data: Buffer) => void {
  let rest = Buffer.alloc(0)
  let isGreeted = false

  return (data) => {
    rest = Buffer.concat([rest, data])
    for (;;) {
      const head = isGreeted ? 1 : 0
      if (rest.length < head + 4) return
      const end = head + rest.readInt32BE(head)
      if (rest.length < end) return

      const type = isGreeted ? rest.readUInt8(0) : 0
      const [first = '', second = ''] = rest.toString('utf8', head + 4, end).split('\0')
      if (type === QUERY) onStatement(first)
      else if (type === PARSE) onStatement(second)
      isGreeted = true
      rest = rest.subarray(end)
    }
  }
}
