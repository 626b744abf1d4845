import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { onTestFinished } from 'vitest'

/** The other sides of the gateway, each in a process of its own, so that what is measured here is the gateway's alone. */
const UPSTREAM = `
const { createServer } = require('node:http')
createServer(async (req, res) => {
  const bytes = Number(new URL(req.url, 'http://a').searchParams.get('bytes'))
  if (req.method === 'POST') {
    let read = 0
    for await (const chunk of req) {
      // Stands still now and then, for as long as buffers need to fill.
      if (Math.floor((read + chunk.length) / 33554432) > Math.floor(read / 33554432)) await new Promise((go) => setTimeout(go, 50))
      read += chunk.length
    }
    res.end(String(read))
    return
  }
  const chunk = Buffer.alloc(65536, 'x')
  let left = bytes
  const write = () => {
    while (left > 0) {
      const piece = left < chunk.length ? chunk.subarray(0, left) : chunk
      left -= piece.length
      if (!res.write(piece)) return res.once('drain', write)
    }
    res.end()
  }
  write()
}).listen(0, '127.0.0.1', function () { process.send(this.address().port) })
`

/** Reads so many bytes, standing still at first and then now and again. */
const READER = `
const { get } = require('node:http')
const [port, bytes] = process.argv.slice(1).map(Number)
get({ port, host: '127.0.0.1', path: '/?bytes=' + bytes }, async (res) => {
  await new Promise((go) => setTimeout(go, 500))
  let read = 0
  for await (const chunk of res) {
    if (Math.floor((read + chunk.length) / 33554432) > Math.floor(read / 33554432)) await new Promise((go) => setTimeout(go, 50))
    read += chunk.length
  }
  process.send(read)
})
`

const WRITER = `
const { request } = require('node:http')
const [port, bytes] = process.argv.slice(1).map(Number)
const req = request({ port, host: '127.0.0.1', path: '/', method: 'POST' }, async (res) => {
  let text = ''
  for await (const chunk of res) text += chunk
  process.send(Number(text))
})
const chunk = Buffer.alloc(65536, 'x')
let left = bytes
const write = () => {
  while (left > 0) {
    const piece = left < chunk.length ? chunk.subarray(0, left) : chunk
    left -= piece.length
    if (!req.write(piece)) return req.once('drain', write)
  }
  req.end()
}
write()
`

/** Opens so many connections and sends so much on each; says how many got an answer, and later how many were closed. */
const CROWD = `
const { connect } = require('node:net')
const [port, count] = process.argv.slice(1, 3).map(Number)
const text = JSON.parse(process.argv[3])
let answered = 0, closed = 0, opened = 0
const told = { opened: false, answered: false }
const tell = () => {
  if (opened === count && !told.opened) { told.opened = true; process.send({ opened }) }
  if (answered === count && !told.answered) { told.answered = true; process.send({ answered }) }
  if (closed === count) process.send({ closed, answered })
}
const open = (left) => {
  if (left === 0) return
  const socket = connect(port, '127.0.0.1', () => { opened += 1; socket.write(text); tell(); open(left - 1) })
  socket.once('data', () => { answered += 1; tell() })
  socket.on('data', () => {})
  socket.on('error', () => {})
  socket.on('close', () => { closed += 1; tell() })
}
for (let lane = 0; lane < 10; lane += 1) open(count / 10)
`

function actor(code: string, args: readonly (string | number)[]): ChildProcess {
  const child = spawn(process.execPath, ['-e', code, ...args.map(String)], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  })
  onTestFinished(() => void child.kill('SIGKILL'))
  return child
}

/** What a process says next. */
export async function told<T>(child: ChildProcess): Promise<T> {
  const [message] = (await once(child, 'message')) as [T]
  return message
}

export async function upstream(): Promise<string> {
  return `http://127.0.0.1:${await told<number>(actor(UPSTREAM, []))}`
}

export const reader = (port: number, bytes: number): Promise<number> => told(actor(READER, [port, bytes]))
export const writer = (port: number, bytes: number): Promise<number> => told(actor(WRITER, [port, bytes]))
export const crowd = (port: number, count: number, text: string): ChildProcess =>
  actor(CROWD, [port, count, JSON.stringify(text)])
