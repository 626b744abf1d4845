import { connect } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { createGateway, type Gateway } from './gateway.js'
import { raw, startTcp } from './internal/test-servers.js'

/**
 * The upstream writes down every byte and answers each head it sees with the path of that head. Whatever a client
 * sends, the upstream must never see a request that the client did not send as one, and the client never an answer to
 * something else.
 */
const opened: Gateway[] = []
afterEach(async () => {
  for (const gateway of opened.splice(0)) await gateway.close({ timeout: 0 })
})

async function start(): Promise<{ port: number; received(): string; requests(): string[] }> {
  let received = ''
  const upstream = await startTcp((socket) => {
    let rest = ''
    socket.on('data', (chunk) => {
      received += chunk.toString('latin1')
      rest += chunk.toString('latin1')
      for (let end = rest.indexOf('\r\n\r\n'); end !== -1; end = rest.indexOf('\r\n\r\n')) {
        const head = rest.slice(0, end)
        rest = rest.slice(end + 4)
        const length = Number(/^content-length: (\d+)/im.exec(head)?.[1] ?? 0)
        if (/^transfer-encoding: chunked/im.test(head)) rest = rest.slice(Math.max(0, rest.indexOf('0\r\n\r\n') + 5))
        else rest = rest.slice(length)
        const path = head.split(' ')[1]!
        socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${path.length}\r\n\r\n${path}`)
      }
    })
  })
  const gateway = createGateway({ routes: [{ path: '/**', upstream }] })
  opened.push(gateway)
  const server = await gateway.listen(0, '127.0.0.1')

  return {
    port: (server.address() as { port: number }).port,
    received: () => received,
    requests: () => received.match(/^[A-Z]+ \S+ HTTP\/1\.1$/gm) ?? [],
  }
}

const smuggled = 'GET /smuggled HTTP/1.1\r\nHost: a\r\nX-Rest: '

describe('two readings of where a body ends', () => {
  const length = (value: string) => `Content-Length: ${value}`
  const encoding = (value: string) => `Transfer-Encoding: ${value}`

  test.each([
    ['CL then TE', [length('4'), encoding('chunked')]],
    ['TE then CL', [encoding('chunked'), length('4')]],
    ['CL, TE, CL', [length('4'), encoding('chunked'), length('4')]],
    ['TE, CL, TE', [encoding('chunked'), length('4'), encoding('chunked')]],
    ['two lengths', [length('4'), length('0')]],
    ['two equal lengths', [length('4'), length('4')]],
    ['a list of lengths', [length('4, 4')]],
    ['a length with a sign', [length('+4')]],
    ['a negative length', [length('-4')]],
    ['a length in hex', [length('0x4')]],
    ['a length with an exponent', [length('4e0')]],
    ['a length that does not fit', [length('18446744073709551620')]],
    ['an empty length', [length('')]],
    ['an encoding that is not known', [encoding('xchunked')]],
    ['chunked and something else', [encoding('chunked, identity')]],
    ['something else and chunked', [encoding('identity, chunked')]],
    ['chunked twice', [encoding('chunked, chunked')]],
    ['an encoding with a vertical tab', [encoding('\x0bchunked')]],
    ['an encoding in quotes', [encoding('"chunked"')]],
    ['a space before the colon', ['Transfer-Encoding : chunked']],
    ['a tab before the colon', ['Transfer-Encoding\t: chunked']],
    ['a folded encoding', ['Transfer-Encoding:\r\n chunked']],
    ['a fold in front', [' Transfer-Encoding: chunked']],
    ['an underscore with a length', ['Transfer_Encoding: chunked', length('4'), length('6')]],
    ['a NUL in the name', ['Transfer-Encoding\0: chunked']],
    ['a bare CR', ['X: a\rTransfer-Encoding: chunked']],
    ['a bare LF', ['X: a\nTransfer-Encoding: chunked', length('4')]],
  ])('%s: refused, and nothing goes on', async (_what, headers) => {
    const { port, received } = await start()

    const answer = await raw(
      port,
      `POST /first HTTP/1.1\r\nHost: a\r\n${headers.join('\r\n')}\r\n\r\n0\r\n\r\n${smuggled}\r\n\r\n`,
    )

    expect(answer).toMatch(/^HTTP\/1\.1 400 /)
    expect(answer.match(/HTTP\/1\.1 \d/g)).toHaveLength(1)
    expect(received()).toBe('')
  })

  test.each(['GET', 'HEAD', 'DELETE', 'OPTIONS', 'PUT'])(
    '%s with a body that looks like a request is one request',
    async (method) => {
      for (const framing of ['length', 'chunks']) {
        const { port, requests } = await start()
        const body = `${smuggled}\r\n\r\n`
        const framed =
          framing === 'length'
            ? `Content-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`
            : `Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`

        const answer = await raw(port, `${method} /first HTTP/1.1\r\nHost: a\r\n${framed}`)

        expect(answer.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 200'])
        expect(answer).not.toContain('/smuggled')
        // The recording is of bytes, and the body is among them; it must not stand where a request begins.
        expect(requests().filter((line) => line.includes('/first'))).toEqual([`${method} /first HTTP/1.1`])
      }
    },
  )
})

describe('odd chunks', () => {
  const post = (chunks: string) =>
    `POST /first HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n${chunks}`

  test.each([
    ['a bare LF after the size', '4\nbody\r\n0\r\n\r\n'],
    ['a bare LF after the data', '4\r\nbody\n0\r\n\r\n'],
    ['a bare LF after an extension', '4;a=b\nbody\r\n0\r\n\r\n'],
    ['a bare CR in an extension', '4;a\rb\r\nbody\r\n0\r\n\r\n'],
    ['a size with a sign', '+4\r\nbody\r\n0\r\n\r\n'],
    ['a size with a prefix', '0x4\r\nbody\r\n0\r\n\r\n'],
    ['a size with a space in front', ' 4\r\nbody\r\n0\r\n\r\n'],
    ['a size that does not fit', 'fffffffffffffffff\r\nbody\r\n0\r\n\r\n'],
    ['more data than the size says', '3\r\nbody\r\n0\r\n\r\n'],
    ['an empty size', '\r\nbody\r\n0\r\n\r\n'],
    ['a body that never ends', '4\r\nbody\r\n'],
  ])('%s: the upstream never gets a whole request', async (_what, chunks) => {
    const { port, received, requests } = await start()
    const sending = raw(port, post(chunks))
    if (chunks.endsWith('body\r\n')) {
      const socket = connect(port, '127.0.0.1', () => socket.end(post(chunks)))
      socket.resume().on('error', () => {})
      await new Promise((resolve) => socket.on('close', resolve))
      expect(received()).not.toMatch(/\r\n0\r\n\r\n$/)
      return
    }

    const answer = await sending

    expect(answer).not.toMatch(/^HTTP\/1\.1 2/)
    expect(received()).not.toMatch(/\r\n0\r\n\r\n$/)
    expect(requests().length).toBeLessThanOrEqual(1)
  })

  test('extensions and trailers of a request end at the gateway', async () => {
    const { port, received } = await start()

    const answer = await raw(port, post('4;name="0";b\r\nbody\r\n0;x\r\nX-User-Id: root\r\n\r\n'))

    expect(answer).toMatch(/^HTTP\/1\.1 200 /)
    expect(received()).toMatch(/\r\n4\r\nbody\r\n0\r\n\r\n$/)
    expect(received()).not.toMatch(/name=|X-User-Id/i)
  })

  test('extensions without end are refused', async () => {
    const { port, received } = await start()

    const answer = await raw(port, post(`1;${'a'.repeat(100_000)}\r\nx\r\n0\r\n\r\n`))

    expect(answer).not.toMatch(/^HTTP\/1\.1 2/)
    expect(received()).not.toMatch(/\r\n0\r\n\r\n$/)
  })
})

describe('whose answer it is', () => {
  test('pipelined requests get their own, in their order', async () => {
    const { port } = await start()
    const paths = Array.from({ length: 30 }, (_, index) => `/p${index}`)

    const answer = await raw(
      port,
      paths
        .map((path, index) => `GET ${path} HTTP/1.1\r\nHost: a\r\n${index === 29 ? 'Connection: close\r\n' : ''}\r\n`)
        .join(''),
    )

    expect(answer.match(/\/p\d+/g)).toEqual(paths)
  })

  test('an upstream that says more than it was asked spoils nobody else', async () => {
    const upstream = await startTcp((socket) => {
      socket.on('data', (chunk) => {
        const path = chunk.toString('latin1').split(' ')[1]!
        const answer = (text: string) => `HTTP/1.1 200 OK\r\nContent-Length: ${text.length}\r\n\r\n${text}`
        socket.write(answer(path) + (path === '/poison' ? answer('/poisoned') : ''))
      })
    })
    const gateway = createGateway({ routes: [{ path: '/**', upstream }] })
    opened.push(gateway)
    const url = `http://127.0.0.1:${((await gateway.listen(0, '127.0.0.1')).address() as { port: number }).port}`

    for (let turn = 0; turn < 20; turn += 1) {
      expect(await (await fetch(`${url}/poison`)).text()).toBe('/poison')
      const next = await fetch(`${url}/next${turn}`)
      // A connection that is found to be spoiled may fail the request on it; it must not answer it.
      if (next.status === 200) expect(await next.text()).toBe(`/next${turn}`)
      else expect(next.status).toBe(502)
    }
  })

  test.each([
    ['GET', false, [200, 502], 2],
    ['GET', { attempts: 2, backoff: (): number => 0 }, [200, 200], 3],
    ['POST', { attempts: 2, backoff: (): number => 0 }, [200, 502], 2],
  ] as const)('an upstream that dies between two requests: %s, retry %j', async (method, retry, statuses, times) => {
    let asked = 0
    const upstream = await startTcp((socket) => {
      let count = 0
      socket.on('data', () => {
        asked += 1
        count += 1
        if (count === 1) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
        else socket.destroy()
      })
    })
    const gateway = createGateway({ routes: [{ path: '/', upstream, retry }] })
    opened.push(gateway)
    const url = `http://127.0.0.1:${((await gateway.listen(0, '127.0.0.1')).address() as { port: number }).port}`

    const seen: number[] = []
    for (let turn = 0; turn < 2; turn += 1) {
      const response = await fetch(url, { method })
      const text = await response.text()
      if (response.status === 200) expect(text).toBe('ok')
      seen.push(response.status)
    }

    expect(seen).toEqual(statuses)
    expect(asked).toBe(times)
  })
})
