// The command itself, with Redis and PostgreSQL.

import { type ChildProcess, spawn } from 'node:child_process'
import { rmSync, statSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { endProcess } from './processes.mjs'
import { findPrograms } from './programs.mjs'
import { freePort } from './recipes.mjs'
import { readState } from './state.mjs'
import { fakeCommands, privateServices } from './testing.js'

// Processes take their time on a busy machine.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 })

let services: Awaited<ReturnType<typeof privateServices>>
beforeEach(async () => {
  services = await privateServices()
})

const children: ChildProcess[] = []
afterEach(async () => {
  await services.dispose()
  for (const child of children.splice(0)) child.kill('SIGKILL')
})

/** For a test that needs a server's programs; installing them is for `up` outside of tests. */
function missing(name: 'redis' | 'postgres'): boolean {
  if (findPrograms[name]('') !== undefined) return false
  console.warn(`\n  SKIPPED: ${name} is not installed: \`scripts/services up ${name}\` installs it.\n`)
  return true
}

const withoutRedis = missing('redis')
const withoutPostgres = missing('postgres')

describe.skipIf(withoutRedis)('a server that is not there', () => {
  test('is started once, used again, and stopped', async () => {
    const first = await services.run('up', 'redis')
    expect(first).toMatchObject({ code: 0, output: expect.stringMatching(/✔ Redis .* started\n$/) })
    const [record] = readState(services.state)

    const second = await services.run('up', '--only=redis')
    expect(second).toMatchObject({ code: 0, output: expect.stringContaining('started earlier') })
    expect(readState(services.state)).toEqual([record])

    const status = await services.run('status', 'redis')
    expect(status.code).toBe(0)
    expect(status.output).toMatch(
      /^SERVER +ADDRESS +ANSWERS +VERSION +STARTED BY\nRedis +redis:\S+ +yes +\d\S+ +scripts/,
    )
    expect(status.output).toContain(`scripts/services (pid ${record?.processes?.[0]?.pid})`)

    expect(await services.run('down')).toMatchObject({ code: 0, output: expect.stringContaining('stopped') })
    expect(await services.ask('redis')).toMatchObject({ state: 'silent' })
    expect(await services.run('status', 'redis')).toMatchObject({
      code: 1,
      output: expect.stringContaining('no: nothing listens'),
    })
    expect(await services.run('down')).toMatchObject({ code: 0, output: expect.stringContaining('Nothing') })
  })

  test('is started once by several at the same time', async () => {
    const outcomes = await Promise.all([1, 2, 3].map(() => services.run('up', 'redis')))

    expect(outcomes.map(({ code }) => code)).toEqual([0, 0, 0])
    const started = outcomes.filter(({ output }) => /, started\n/.test(output))
    expect(started).toHaveLength(1)
    expect(readState(services.state)).toHaveLength(1)
  })

  test('is started again after it was killed', async () => {
    await services.run('up', 'redis')
    const [killed] = readState(services.state)[0]?.processes ?? []
    await endProcess(killed!, { signal: 'SIGKILL' })

    expect(await services.run('up', 'redis')).toMatchObject({ code: 0, output: expect.stringMatching(/, started\n$/) })

    const [next] = readState(services.state)[0]?.processes ?? []
    expect(next?.pid).not.toBe(killed?.pid)
  })

  test('is found again at an address that is not the current one', async () => {
    await services.run('up', 'redis')
    const port = new URL(services.env['REDIS_URL']!).port
    services.env['REDIS_URL'] = `redis://127.0.0.1:${await freePort(0)}`

    const { code, output } = await services.run('status', 'redis')

    expect(code).toBe(1)
    expect(output).toMatch(new RegExp(`127\\.0\\.0\\.1:${port} +yes`))
  })
})

test.skipIf(withoutRedis)('`down` leaves a server alone that somebody else started', async () => {
  const { port } = new URL(services.env['REDIS_URL']!)
  const { server } = findPrograms.redis('')!
  const child = spawn(server!, ['--port', port, '--bind', '127.0.0.1', '--save', '', '--dir', services.state])
  children.push(child)
  await expect.poll(() => services.ask('redis')).toMatchObject({ state: 'answers' })

  expect(await services.run('up', 'redis')).toMatchObject({
    code: 0,
    output: expect.stringContaining('was there already'),
  })
  const status = await services.run('status', 'redis')
  expect(status.output).toContain(`somebody else (redis-server, pid ${child.pid})`)
  await services.run('down')

  expect(await services.ask('redis')).toMatchObject({ state: 'answers' })
})

test.skipIf(withoutPostgres)(
  'PostgreSQL has the user and the database of its address, and keeps its data',

  async () => {
    expect(await services.run('up', 'postgres')).toMatchObject({ code: 0 })
    expect(await services.ask('postgres')).toMatchObject({ state: 'answers' })

    await services.run('down')
    expect(await services.ask('postgres')).toMatchObject({ state: 'silent' })

    // Written once, when the cluster is made.
    const birth = join(services.state, `postgres-${new URL(services.env['DATABASE_URL']!).port}`, 'data', 'PG_VERSION')
    const { ino, mtimeMs } = statSync(birth)
    expect(await services.run('up', 'postgres')).toMatchObject({
      code: 0,
      output: expect.stringMatching(/, started\n$/),
    })
    expect(await services.ask('postgres')).toMatchObject({ state: 'answers' })
    expect(statSync(birth)).toMatchObject({ ino, mtimeMs })
  },
)

describe('what is in the way', () => {
  test('is named: a port held by something else', async () => {
    const server = createServer((socket) => socket.end('220 mail.example ESMTP\r\n'))
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    services.env['AMQP_URL'] = `amqp://127.0.0.1:${(server.address() as { port: number }).port}`

    const { code, output } = await services.run('up', 'rabbitmq')
    server.close()

    expect(code).toBe(1)
    expect(output).toContain('which is not RabbitMQ: it said "220 mail.example ESMTP"')
    if (process.platform === 'linux') expect(output).toContain(`(pid ${process.pid})`)
    expect(readState(services.state)).toEqual([])
  })

  test('is an address that is not on this machine: it is never started', async () => {
    services.env['REDIS_URL'] = 'redis://redis.invalid:6379'

    const { code, output } = await services.run('up', 'redis')

    expect(code).toBe(1)
    expect(output).toContain('It is not on this machine, so nothing is started')
    expect(readState(services.state)).toEqual([])
  })

  test.skipIf(withoutRedis)('does not keep the other servers from starting', async () => {
    services.env['AMQP_URL'] = 'amqp://rabbit.invalid'

    const { code, output } = await services.run('up', '--only', 'rabbitmq,redis')

    expect(code).toBe(1)
    expect(output).toMatch(/✔ Redis .* started\n/)
    expect(await services.ask('redis')).toMatchObject({ state: 'answers' })
  })

  test.skipIf(withoutRedis)('is shown in the last words of a server that ends while it starts', async () => {
    services.env['PATH'] =
      `${fakeCommands({ docker: 'exit 1', 'redis-server': 'echo "out of luck"; exit 3' })}:${services.env['PATH']}`

    const { code, output } = await services.run('up', 'redis')
    rmSync(services.env['PATH']!.split(':')[0]!, { recursive: true })

    expect(code).toBe(1)
    expect(output).toContain('Redis ended while it started')
    expect(output).toContain('| out of luck')
    expect(readState(services.state)).toEqual([])
  })
})

test.each([
  [['restart'], 'Expected up, down or status'],
  [['up', 'mongo'], 'no server called "mongo"'],
  [['up', '--force'], '--force'],
])('%j is wrong usage', async (args, why) => {
  expect(await services.run(...args)).toMatchObject({ code: 2, output: expect.stringContaining(why) })
})

test('explains itself', async () => {
  const { code, output } = await services.run('--help')

  expect(code).toBe(0)
  for (const word of ['up', 'down', 'status', '--only', 'CONSUL_HTTP_ADDR', 'Exit codes'])
    expect(output).toContain(word)
})
