import { spawn } from 'node:child_process'
import { afterEach, expect, test } from 'vitest'
import { type Crash, type Supervised, supervise } from './supervise.js'

const never = new AbortController().signal
const announce = `process.send({ url: 'http://a', http: 'http://' + process.pid });`
const stayUntilAsked = `setInterval(() => {}, 1000); process.on('SIGTERM', () => { console.log('asked'); process.exit(0) });`
const stayWhateverComes = `setInterval(() => {}, 1000); process.on('SIGTERM', () => {});`

let supervised: Supervised

afterEach(() => supervised.stop(0, never))

function run(script: string) {
  const lines: string[] = []
  const crashes: Crash[] = []
  const announcements: string[] = []
  supervised = supervise({
    spawn: () => spawn(process.execPath, ['--eval', script], { stdio: ['ignore', 'pipe', 'pipe', 'ipc'] }),
    onLine: (line) => lines.push(line),
    onAnnouncement: ({ http }) => announcements.push(http),
    onCrash: (crash) => crashes.push(crash),
  })
  return { lines, crashes, announcements }
}

test('resolves with what the process announces', async () => {
  run(stayUntilAsked + announce)

  expect(await supervised.started).toEqual({ url: 'http://a', http: `http://${supervised.pid}` })
  expect(supervised.announcement).toEqual(await supervised.started)
})

test('hands over both outputs line by line', async () => {
  const { lines } = run(`console.log('one\\ntwo'); console.error('three');${stayUntilAsked + announce}`)

  await expect.poll(() => [...lines].sort(), { timeout: 5_000 }).toEqual(['one', 'three', 'two'])
})

test('rejects when the first process ends before it has announced itself, and starts no other', async () => {
  const { crashes } = run('process.exit(3)')

  await expect(supervised.started).rejects.toThrow('it ended with code 3 before it was ready')
  expect(crashes).toEqual([])
  expect(supervised.pid).toBeUndefined()
})

test('starts another process after one that was killed', async () => {
  const { crashes, announcements } = run(stayUntilAsked + announce)
  await supervised.started
  const first = supervised.pid as number

  process.kill(first, 'SIGKILL')

  await expect.poll(() => announcements.length, { timeout: 5_000 }).toBe(2)
  expect(crashes).toEqual([{ pid: first, code: null, signal: 'SIGKILL', delay: 250 }])
  expect(supervised.pid).not.toBe(first)
  expect(supervised.announcement?.http).toBe(`http://${supervised.pid}`)
})

test('asks a process to stop and waits until it has', async () => {
  const { lines, crashes } = run(stayUntilAsked + announce)
  await supervised.started
  const pid = supervised.pid as number

  await supervised.stop(5_000, never)

  expect(() => process.kill(pid, 0)).toThrow('ESRCH')
  await expect.poll(() => lines, { timeout: 5_000 }).toEqual(['asked'])
  expect(crashes).toEqual([])
})

test('kills a process that does not stop by the deadline', async () => {
  run(stayWhateverComes + announce)
  await supervised.started
  const pid = supervised.pid as number

  await supervised.stop(200, never)

  expect(() => process.kill(pid, 0)).toThrow('ESRCH')
})

test('kills a process as soon as there is a hurry', async () => {
  run(stayWhateverComes + announce)
  await supervised.started
  const hurry = new AbortController()

  const stopped = supervised.stop(60_000, hurry.signal)
  hurry.abort()

  await stopped
  expect(supervised.pid).toBeUndefined()
})

test('starts nothing any more when it is stopped between two processes', async () => {
  const { crashes, announcements } = run(stayUntilAsked + announce)
  await supervised.started
  process.kill(supervised.pid as number, 'SIGKILL')
  await expect.poll(() => crashes.length, { timeout: 5_000 }).toBe(1)

  await supervised.stop(1_000, never)
  await new Promise((resolve) => setTimeout(resolve, 400)) // the restart was due after 250 ms

  expect(announcements).toHaveLength(1)
})
