import { connect, type Socket } from 'node:net'
import { BODY, PATH } from './work.js'

/**
 * A load of so many requests a second, in a process of its own: `paced.js <port> <rate> <ms> [token]`. Requests leave
 * when they are due, whoever is late, and each is timed from then on, also while it waits for a connection to be free: a
 * gateway that stands still is not asked less for it. Every answer is held against what it must be.
 */
const [port, rate, ms] = process.argv.slice(2, 5).map(Number) as [number, number, number]
const token = process.argv[5]

const SOCKETS = 50
const request = Buffer.from(
  `GET ${PATH} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n${token === undefined ? '' : `Authorization: Bearer ${token}\r\n`}\r\n`,
)
const count = Math.round((rate * ms) / 1_000)
const latencies: number[] = []
const idle: Socket[] = []
/** When the requests were due that found no connection free. */
const overdue: number[] = []

const start = performance.now() + 100
let sent = 0
/** When the request was due that a connection is busy with. */
const asked = new WeakMap<Socket, number>()

for (let index = 0; index < SOCKETS; index += 1) {
  const socket = await open()
  idle.push(socket)
}
tick()

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
    socket.on('error', reject)
    socket.on('close', () => fail('the connection was closed'))
    socket.on('data', (chunk) => {
      answer += chunk.toString('latin1')
      const end = answer.indexOf('\r\n\r\n')
      if (end === -1 || answer.length < end + 4 + BODY.length) return
      if (!answer.startsWith('HTTP/1.1 200') || answer.slice(end + 4) !== BODY) fail(answer)

      answer = ''
      latencies.push(performance.now() - asked.get(socket)!)
      idle.push(socket)
      if (latencies.length === count) report()
      else ask()
    })
  })
}

function fail(reason: string): never {
  console.error(reason.slice(0, 400))
  process.exit(1)
}

function report(): never {
  latencies.sort((a, b) => a - b)
  const at = (share: number): number => latencies[Math.min(count - 1, Math.floor(count * share))]!
  process.stdout.write(JSON.stringify({ p50: at(0.5), p99: at(0.99), max: at(1) }))
  process.exit()
}
