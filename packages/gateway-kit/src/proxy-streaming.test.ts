import { createHash, randomBytes } from 'node:crypto'
import { request } from 'node:http'
import { connect } from 'node:net'
import { Readable } from 'node:stream'
import { expect, test, vi } from 'vitest'
import { dial, serve, signalled, startUpstream } from './internal/test-servers.js'
import { proxy } from './proxy.js'

const MEGABYTE = 1_048_576

test('a large body goes up and comes down byte by byte as it was', async () => {
  const upstream = await startUpstream((req, res) => void req.pipe(res))
  const { port } = await serve(proxy(upstream.url))
  const data = randomBytes(8 * MEGABYTE)

  const digest = await new Promise<string>((resolve, reject) => {
    const hash = createHash('sha256')
    const req = request({ port, host: '127.0.0.1', method: 'POST' }, (res) => {
      res.on('data', (chunk) => hash.update(chunk))
      res.on('end', () => resolve(hash.digest('hex')))
      res.on('error', reject)
    }).on('error', reject)
    Readable.from(chunksOf(data, 100_000)).pipe(req)
  })

  expect(digest).toBe(createHash('sha256').update(data).digest('hex'))
})

test('the first bytes arrive while the rest is not yet written', async () => {
  const more = signalled()
  const upstream = await startUpstream((_req, res) => {
    res.write('first')
    void more.promise.then(() => res.end('second'))
  })
  const { url } = await serve(proxy(upstream.url))

  const reader = (await fetch(url)).body!.getReader()
  expect(Buffer.from((await reader.read()).value!).toString()).toBe('first')

  more.fire()
  expect(Buffer.from((await reader.read()).value!).toString()).toBe('second')
})

test('headers arrive while there is no body yet', async () => {
  const upstream = await startUpstream((_req, res) => res.flushHeaders())
  const { url } = await serve(proxy(upstream.url))

  const response = await fetch(url)

  expect(response.status).toBe(200)
  await response.body!.cancel()
})

test('the upstream sees the first bytes while the client still writes', async () => {
  const seen = signalled<string>()
  const upstream = await startUpstream((req, res) => {
    req.once('data', (chunk) => seen.fire(String(chunk)))
    req.on('end', () => res.end('ok'))
  })
  const { port } = await serve(proxy(upstream.url))

  const req = request({ port, host: '127.0.0.1', method: 'POST' })
  req.write('first')

  expect(await seen.promise).toBe('first')
  const answered = new Promise((resolve) => req.on('response', (res) => resolve(res.statusCode)))
  req.end('second')
  expect(await answered).toBe(200)
})

test('a client that does not read slows the upstream down instead of filling the memory', async () => {
  let written = 0
  const upstream = await startUpstream((_req, res) => {
    const write = (): void => {
      while (written < 256 * MEGABYTE) {
        written += MEGABYTE
        if (!res.write(Buffer.alloc(MEGABYTE))) {
          res.once('drain', write)
          return
        }
      }
      res.end()
    }
    write()
  })
  const { port } = await serve(proxy(upstream.url))

  const socket = dial(port, 'GET / HTTP/1.1\r\nHost: a\r\n\r\n')
  socket.pause()
  await settled(() => written)

  expect(written).toBeGreaterThan(0)
  expect(written).toBeLessThan(64 * MEGABYTE)
  socket.destroy()
})

test('an upstream that does not read slows the client down', async () => {
  const upstream = await startUpstream((req) => void req.pause())
  const { port } = await serve(proxy(upstream.url))
  let written = 0

  const socket = dial(port, `POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${1_024 * MEGABYTE}\r\n\r\n`)
  const write = (): void => {
    while (written < 256 * MEGABYTE) {
      written += MEGABYTE
      if (!socket.write(Buffer.alloc(MEGABYTE))) {
        socket.once('drain', write)
        return
      }
    }
  }
  write()
  await settled(() => written)

  expect(written).toBeLessThan(64 * MEGABYTE)
  socket.destroy()
})

test('an answer that comes before the end of a long upload reaches the client', async () => {
  const upstream = await startUpstream((_req, res) => res.writeHead(401).end('who are you'))
  const { port } = await serve(proxy(upstream.url))

  const answer = await new Promise<string>((resolve) => {
    let text = ''
    const socket = connect(port, '127.0.0.1', () => {
      socket.write(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${16 * MEGABYTE}\r\n\r\n`)
      // It sends all it has before it reads a byte, as simple clients do.
      socket.pause()
      socket.write(Buffer.alloc(15 * MEGABYTE), () => socket.resume())
    })
    socket.on('data', (chunk) => {
      text += chunk
      if (text.includes('who are you')) socket.end()
    })
    socket.on('error', () => {})
    socket.on('close', () => resolve(text))
  })

  expect(answer).toMatch(/^HTTP\/1\.1 401 /)
  expect(answer).toMatch(/\r\nconnection: close\r\n/i)
  expect(answer).toMatch(/who are you/)
})

function* chunksOf(data: Buffer, size: number): Generator<Buffer> {
  for (let start = 0; start < data.byteLength; start += size) yield data.subarray(start, start + size)
}

/** Resolves when a number has stopped to change. */
async function settled(value: () => number): Promise<void> {
  let last = -1
  await vi.waitFor(
    () => {
      const now = value()
      const same = now === last && now > 0
      last = now
      if (!same) throw new Error('still moving')
    },
    { timeout: 10_000, interval: 200 },
  )
}
