import { connect, type Socket } from 'node:net'
import { BODY, PATH } from './work.js'

/** Percentiles of the time of a request, in milliseconds. */
export interface Times {
  readonly p50: number
  readonly p99: number
  readonly max: number
}

/** What is asked of this process: so many requests a second for so many milliseconds. */
interface Order {
  readonly port: number
  readonly token?: string | undefined
  readonly rate: number
  readonly ms: number
}

const SOCKETS = 50

/** How long a load runs before it counts, in ms: connections are accepted in that time, and what slept wakes up. */
const LEAD = 250

/**
 * A paced load. Requests leave when they are due, whoever is late, and each is timed from then on, also while it waits
 * for a connection to be free: a gateway that stands still is not asked less for it. Every answer is held against what
 * it must be.
 */
async function run({ port, token, rate, ms }: Order): Promise<Times> {
  const request = Buffer.from(
    `GET ${PATH} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n${token === undefined ? '' : `Authorization: Bearer ${token}\r\n`}\r\n`,
  )
  const lead = Math.round((rate * LEAD) / 1_000)
  const count = lead + Math.round((rate * ms) / 1_000)
  const latencies: number[] = []
  const idle: Socket[] = []
  /** When the requests were due that found no connection free. */
  const overdue: number[] = []
  /** When the request was due that a connection is busy with. */
  const asked = new WeakMap<Socket, number>()
  const sockets: Socket[] = []
  let sent = 0
  let answered = 0
  let finish: () => void
  let fail: (error: Error) => void
  const finished = new Promise<void>((resolve, reject) => {
    finish = resolve
    fail = reject
  })
  // It may fail before anybody waits for it.
  finished.catch(() => {})

  for (let index = 0; index < SOCKETS; index += 1) sockets.push(await open())
  idle.push(...sockets)
  const start = performance.now()
  tick()

  await finished
  for (const socket of sockets) socket.removeAllListeners('close').destroy()
  latencies.sort((a, b) => a - b)
  const at = (share: number): number => latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * share))]!
  return { p50: at(0.5), p99: at(0.99), max: at(1) }

  /** Timers are as coarse as a millisecond: what became due since the last one leaves together, and is timed from then on. */
  function tick(): void {
    const now = performance.now()
    while (sent < count && start + (sent * 1_000) / rate <= now) {
      overdue.push(now)
      sent += 1
      ask()
    }
    if (sent < count) setTimeout(tick, 1)
  }

  function ask(): void {
    if (overdue.length === 0) return
    const socket = idle.pop()
    if (socket === undefined) return

    asked.set(socket, overdue.shift()!)
    socket.write(request)
  }

  function open(): Promise<Socket> {
    return new Promise((resolve, reject) => {
      const socket = connect({ port, host: '127.0.0.1', noDelay: true }, () => resolve(socket))
      let answer = ''
      socket.on('error', (error) => {
        reject(error)
        fail(error)
      })
      socket.on('close', () => fail(new Error('the connection was closed')))
      socket.on('data', (chunk) => {
        answer += chunk.toString('latin1')
        const end = answer.indexOf('\r\n\r\n')
        if (end === -1 || answer.length < end + 4 + BODY.length) return
        if (!answer.startsWith('HTTP/1.1 200') || answer.slice(end + 4) !== BODY) {
          fail(new Error(`an unexpected answer: ${answer.slice(0, 400)}`))
        }

        answer = ''
        answered += 1
        if (answered > lead) latencies.push(performance.now() - asked.get(socket)!)
        idle.push(socket)
        if (answered === count) finish()
        else ask()
      })
    })
  }
}

process.on('disconnect', () => process.exit())
process.on('message', (order: Order) => {
  run(order).then(
    (times) => process.send!(times),
    (error: Error) => process.send!({ failure: error.message }),
  )
})
