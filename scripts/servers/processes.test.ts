import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { endProcess, isRunning, portHolder, recordOf } from './processes.mjs'

const children: ChildProcess[] = []
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL')
})

/** A process that says when it is ready, and waits. */
async function start(script = ''): Promise<ChildProcess & { pid: number }> {
  const child = spawn(process.execPath, ['-e', `${script}; setInterval(() => {}, 1e6); console.log('ready')`])
  children.push(child)
  await once(child.stdout, 'data')
  return child as ChildProcess & { pid: number }
}

test('ends the process that it has a record of', async () => {
  const child = await start()
  const record = recordOf(child.pid, 'node')
  expect(isRunning(record)).toBe(true)

  expect(await endProcess(record)).toBe(true)

  expect(isRunning(record)).toBe(false)
})

test('kills a process that does not listen to reason', async () => {
  const child = await start("process.on('SIGTERM', () => {})")
  const exited = once(child, 'exit')

  expect(await endProcess(recordOf(child.pid, 'node'), { grace: 100 })).toBe(true)

  expect(await exited).toEqual([null, 'SIGKILL'])
})

test('leaves alone a process that has the number of one that ended', async () => {
  const child = await start()
  const recycled = { ...recordOf(child.pid, 'node'), started: 'another day' }
  expect(isRunning(recycled)).toBe(false)

  expect(await endProcess(recycled)).toBe(false)

  expect(isRunning(recordOf(child.pid, 'node'))).toBe(true)
  expect(child.signalCode).toBeNull()
})

test('tells two processes of the same command apart', async () => {
  const [one, other] = [await start(), await start()]

  expect(isRunning({ ...recordOf(one.pid, 'node'), pid: other.pid })).toBe(false)
})

test.runIf(process.platform === 'linux')('knows who holds a port', async () => {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  expect(portHolder(port)?.pid).toBe(process.pid)

  await new Promise((resolve) => server.close(resolve))

  expect(portHolder(port)).toBeUndefined()
})
