import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { createService, type ServiceMail, type ServiceOptions } from './lifecycle.js'
import { type TestDeps, testDeps } from './testing.js'

let deps: TestDeps
let folder: string

beforeAll(async () => {
  deps = await testDeps({ role: 'lifecycle' })
  folder = await mkdtemp(join(tmpdir(), 'lifecycle-'))
  await writeFile(join(folder, '001_word.sql'), 'CREATE TABLE word (text text)')
})

afterAll(async () => {
  await deps.close()
  await rm(folder, { recursive: true })
})

type Bus = ServiceMail['bus']

interface FakeBus extends Bus {
  readonly calls: string[]
  status: string
}

function fakeBus(): FakeBus {
  const calls: string[] = []
  return {
    calls,
    status: 'up',
    start: async () => void calls.push('start'),
    close: async () => void calls.push('close'),
    health() {
      return { status: this.status }
    },
  }
}

const service = (bus: FakeBus, options: Partial<ServiceOptions> = {}) =>
  createService({
    name: 'test',
    deps,
    mail: {
      bus,
      migrate: async () => void bus.calls.push('migrate'),
      measure: () => {},
      startRelay: () => ({ close: async () => void bus.calls.push('relay closed') }),
    },
    migrations: pathToFileURL(`${folder}/`),
    routes: () => {},
    ...options,
  })

it('starts from the inside out: schema, mail, preparation, bus, HTTP', async () => {
  const bus = fakeBus()
  const steps = bus.calls
  const started = service(bus, {
    async prepare() {
      await deps.database.query('SELECT text FROM word')
      steps.push('prepare')
    },
    routes: (app) => app.get('/word', (context) => context.text('sesame')),
  })

  const { url } = await started.start()

  expect(steps).toEqual(['migrate', 'prepare', 'start'])
  expect(await (await fetch(`${url}/word`)).text()).toBe('sesame')
  await started.stop()
})

it('is ready while its database answers and its bus is not down', async () => {
  const bus = fakeBus()
  let broken = false
  const query: TestDeps['database']['query'] = (text, values) =>
    broken ? Promise.reject(new Error('no database')) : deps.database.query(text, values)
  const started = service(bus, { deps: { ...deps, database: { ...deps.database, query } } })
  const { url } = await started.start()
  const status = async (): Promise<number> => (await fetch(`${url}/health/ready`)).status

  expect(await status()).toBe(200)

  bus.status = 'down'
  expect(await status()).toBe(503)

  bus.status = 'degraded'
  expect(await status()).toBe(200)

  broken = true
  expect(await status()).toBe(503)
  await started.stop()
})

it('answers nobody after it has stopped, and closes its bus last', async () => {
  const bus = fakeBus()
  const started = service(bus)
  const { url } = await started.start()

  await started.stop()

  expect(bus.calls).toEqual(['migrate', 'start', 'close'])
  await expect(fetch(`${url}/health/live`)).rejects.toThrow()
})

it('leaves nothing open when it cannot start', async () => {
  const first = service(fakeBus())
  const port = Number(new URL((await first.start()).url).port)
  const bus = fakeBus()

  await expect(service(bus, { deps: { ...deps, port } }).start()).rejects.toMatchObject({ code: 'EADDRINUSE' })

  expect(bus.calls).toEqual(['migrate', 'start', 'close'])
  await first.stop()
})

it('has its background begin on the bus, and end before the outbox and the bus do', async () => {
  const bus = fakeBus()
  const background = {
    start: async () => void bus.calls.push('begin'),
    stop: async () => void bus.calls.push('end'),
  }
  const started = service(bus, { background, publishes: true })

  await started.start()
  await started.stop()

  expect(bus.calls).toEqual(['migrate', 'start', 'begin', 'end', 'relay closed', 'close'])
})

it('ends a background that could not begin, and answers nobody', async () => {
  const bus = fakeBus()
  const background = {
    start: () => Promise.reject(new Error('no lease')),
    stop: async () => void bus.calls.push('end'),
  }

  await expect(service(bus, { background }).start()).rejects.toThrow('no lease')

  expect(bus.calls).toEqual(['migrate', 'start', 'end', 'close'])
})
