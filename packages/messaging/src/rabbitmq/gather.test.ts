import { Writable } from 'node:stream'
import { expect, test } from 'vitest'
import { gatherWrites } from './gather.js'

function sink(): { stream: Writable; writes: string[] } {
  const writes: string[] = []
  const stream = new Writable({
    write: (chunk, _encoding, done) => {
      writes.push(String(chunk))
      done()
    },
    writev: (chunks, done) => {
      writes.push(chunks.map(({ chunk }) => String(chunk)).join(''))
      done()
    },
  })
  gatherWrites(stream)

  return { stream, writes }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

test('what is written in one turn leaves together and in order, the next turn by itself', async () => {
  const { stream, writes } = sink()

  for (const frame of ['a', 'b', 'c']) stream.write(frame)
  await turn()
  stream.write('d')
  await turn()

  expect(writes).toEqual(['abc', 'd'])
})

test('calls back for each write, and loses nothing that is written right before the end', async () => {
  const { stream, writes } = sink()
  const done: string[] = []

  stream.write('a', () => done.push('a'))
  stream.write('b', 'utf8', () => done.push('b'))
  await new Promise<void>((resolve) => stream.end('c', resolve))

  expect(writes.join('')).toBe('abc')
  expect(done).toEqual(['a', 'b'])
})

test('tells the writer when there is no more room', async () => {
  const { stream } = sink()
  const drained = new Promise((resolve) => stream.once('drain', resolve))

  expect(stream.write('x'.repeat(stream.writableHighWaterMark))).toBe(false)
  await drained
})
