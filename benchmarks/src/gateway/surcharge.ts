import { createServer, type RequestListener } from 'node:http'
import type { Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { Dispatcher } from 'undici'
import { type Benchmark, measure, paired, type Row, type Subject, spread } from '../harness/index.js'
import { assembled, CHAIN, OUR_CHAIN, OURS, type Part } from './gateways.js'
import { BODY, PATH } from './work.js'

const ALONE = "Node's server alone"
const ROUTE = 'createGateway, a route'

/**
 * What the gateway adds to Node's own server: all in one process, with nothing of the network below HTTP and an upstream that
 * answers at once. So little else happens that a few thousand requests tell, also on a machine that is not quiet.
 */
export const surcharge: Benchmark = {
  name: 'surcharge',
  async *run(effort) {
    const subjects = await subjectsOf()
    const samples = await measure(subjects, { ...effort, slice: effort.slice * 4, warmUp: effort.warmUp * 4 }, 'cpu')
    const alone = samples.get(subjects[0]!)!
    const rows = subjects.map((subject): Row => {
      const amounts = samples.get(subject)!
      if (subject.name === ALONE) return { name: ALONE, role: 'bare', amount: spread(amounts) }

      const added = spread(paired(amounts, alone, (all, bare) => all - bare))
      return { name: subject.name, role: subject.name === OURS ? 'ours' : 'peer', amount: spread(amounts), added }
    })

    yield { title: "What is added to Node's server, without a network. Processor time", unit: 'ns/request', rows }
  },
}

async function subjectsOf(): Promise<readonly Subject[]> {
  const { proxy } = await import('@msx/gateway-kit')
  const upstream = 'http://upstream.example'
  const dispatcher = new Answering()
  const forward = proxy(upstream, { dispatcher })
  const gateways: [string, readonly Part[]][] = [
    [ROUTE, []],
    ...CHAIN.map((part): [string, readonly Part[]] => [`${ROUTE}, with ${part}`, [part]]),
    [OUR_CHAIN, CHAIN],
  ]
  const made = gateways.map(async ([name, parts]) => {
    const { gateway, token } = await assembled(upstream, parts, dispatcher)
    return asking(name, (req, res) => gateway.handler(req, res, () => {}), token)
  })

  return [
    asking(ALONE, (_req, res) => {
      res.writeHead(200, ['content-type', 'application/json', 'content-length', String(BODY.length)])
      res.end(BODY)
    }),
    asking(OURS, (req, res) => forward(req, res, () => {})),
    ...(await Promise.all(made)),
  ]
}

/** Asks over one connection that is kept open, again as soon as it has its answer. */
function asking(name: string, listener: RequestListener, token?: string): Subject {
  const authorization = token === undefined ? '' : `Authorization: Bearer ${token}\r\n`
  const head = Buffer.from(`GET ${PATH} HTTP/1.1\r\nHost: gateway.example\r\n${authorization}\r\n`)
  const server = createServer(listener)
  let connection: Connection | undefined

  return {
    name,
    run(calls) {
      if (connection === undefined) {
        connection = new Connection(head)
        server.emit('connection', connection as unknown as Socket)
      }
      return connection.ask(calls)
    },
  }
}

/** What a server needs of a socket. */
class Connection extends Duplex {
  readonly remoteAddress = '127.0.0.1'
  readonly #head: Buffer
  #left = 0
  #text = ''
  #done: (error?: Error) => void = () => {}

  constructor(head: Buffer) {
    super()
    this.#head = head
  }

  ask(calls: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#left = calls
      this.#done = (error) => (error === undefined ? resolve() : reject(error))
      this.push(this.#head)
    })
  }

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: BufferEncoding, written: () => void): void {
    this.#text += chunk.toString('latin1')
    if (this.#text.endsWith(BODY)) this.#answered()
    written()
  }

  #answered(): void {
    const right = this.#text.startsWith('HTTP/1.1 200 ')
    const text = this.#text
    this.#text = ''
    this.#left -= 1
    // In a turn of its own, as what comes over a network would.
    if (!right) this.#done(new Error(`not the expected answer: ${text.slice(0, 200)}`))
    else if (this.#left > 0) setImmediate(() => this.push(this.#head))
    else setImmediate(this.#done)
  }
}

const received = ['Content-Type', 'application/json', 'Content-Length', String(BODY.length)]
const headers = { 'content-type': 'application/json', 'content-length': String(BODY.length) }

/** An upstream that has its answer ready; as bytes, as undici would have read them. */
class Answering extends Dispatcher {
  override dispatch(_options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): boolean {
    const controller = {
      rawHeaders: received.map((text) => Buffer.from(text)),
      pause() {},
      resume() {},
      abort() {},
    } as unknown as Dispatcher.DispatchController
    handler.onRequestStart?.(controller, {})
    handler.onResponseStart?.(controller, 200, headers, 'OK')
    handler.onResponseData?.(controller, Buffer.from(BODY))
    handler.onResponseEnd?.(controller, {})

    return true
  }
}
