import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { recordOf } from './processes.mjs'
import { forget, mayRun, readState, recordFor, remember } from './state.mjs'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'msx-state-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

const redis = (port: number, pid = process.pid) => ({
  server: 'redis' as const,
  port,
  at: '2026-01-01T00:00:00.000Z',
  processes: [recordOf(pid, 'redis-server')],
})

test('remembers a record for each server and port, and forgets only the one it is told to', () => {
  remember(folder, redis(7000))
  remember(folder, redis(7001))
  remember(folder, { ...redis(7000), at: 'later' })
  expect(recordFor(folder, { name: 'redis', port: 7000 })?.at).toBe('later')

  forget(folder, redis(7000))

  expect(readState(folder)).toEqual([redis(7001)])
  expect(recordFor(folder, { name: 'rabbitmq', port: 7001 })).toBeUndefined()
  expect(readdirSync(folder)).toEqual(['started.json'])
})

test('knows whether anything of it may still run', () => {
  const record = redis(7000)
  expect(mayRun(record)).toBe(true)

  const recycled = { ...record, processes: record.processes.map((process) => ({ ...process, started: 'before' })) }
  expect(mayRun(recycled)).toBe(false)
})

test('has no records before the first, and says what to do about a file that it cannot read', () => {
  expect(readState(folder)).toEqual([])

  writeFileSync(join(folder, 'started.json'), '{')
  expect(() => readState(folder)).toThrow('does not hold JSON')
})
