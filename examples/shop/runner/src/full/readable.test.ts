import { pino } from 'pino'
import { expect, test } from 'vitest'
import { readable } from './readable.js'

function logged(write: (log: ReturnType<typeof pino>) => void): string {
  const lines: string[] = []
  const destination = { write: (line: string) => void lines.push(line) }
  write(pino({ name: 'order-service', base: { service: 'order-service' } }, destination))
  return lines.join('').trim()
}

test('says level, message, facts and the error of a line that pino wrote', () => {
  const line = logged((log) => log.warn({ err: new TypeError('no route'), during: 'claim', tries: 2 }, 'not stored'))

  expect(readable(line)).toBe('warn not stored during=claim tries=2 (TypeError: no route)')
})

test.each(['Listening', '', '{ not json', '{"level"', '{"a":1}', '[1]'])('leaves %j as it is', (line) => {
  expect(readable(line)).toBe(line)
})
