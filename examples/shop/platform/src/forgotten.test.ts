import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { defineEvents } from '@msx/messaging'
import { Registry } from 'prom-client'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { serviceClient } from './client.js'
import { createService } from './lifecycle.js'
import { createLog } from './log.js'
import { fewAtOnce, openMail } from './mail.js'
import { isForgotten, type TestDeps, testDeps } from './testing.js'
import { createInstruments } from './watch/instruments.js'

const events = defineEvents({ 'thing.happened': z.object({ id: z.string() }) })

let deps: TestDeps
let folder: string

beforeAll(async () => {
  deps = await testDeps({ role: 'forgotten' })
  folder = await mkdtemp(join(tmpdir(), 'forgotten-'))
})

afterAll(async () => {
  await deps.close()
  await rm(folder, { recursive: true })
})

/** One life of a service, with all that it is given anew each time, as the shop in one process gives it. */
async function live(abruptly: boolean): Promise<Readonly<Record<string, WeakRef<object>>>> {
  const instruments = createInstruments('forgotten', { token: 'a-token-for-this-test' })
  const own = { ...deps, instruments, log: createLog('forgotten', 'silent') }
  const registry = new Registry()
  const mail = openMail('forgotten', events, own, 'group')
  let handled = () => {}
  const isHandled = new Promise<void>((resolve) => {
    handled = resolve
  })
  mail.bus.subscribe('group', 'thing.happened', async () => handled(), fewAtOnce)
  const other = serviceClient({ discovery: deps.discovery, instruments, service: 'nowhere' })
  const service = createService({
    name: 'forgotten',
    deps: own,
    mail,
    registry,
    publishes: true,
    migrations: pathToFileURL(`${folder}/`),
    routes: (app) => app.get('/other', async () => other.fetch('/thing')),
  })

  const { url } = await service.start()
  await mail.outbox.transaction((tx) => mail.outbox.publish(tx, 'thing.happened', { id: '1' }))
  await isHandled
  await (await fetch(`${url}/metrics`)).text()
  await (await fetch(`${url}/other`)).text()
  await service.stop({ abruptly })
  await instruments.spans.close()
  const parts = { service, registry, instruments, bus: mail.bus, outbox: mail.outbox, client: other }
  return Object.fromEntries(Object.entries(parts).map(([name, part]) => [name, new WeakRef(part)]))
}

describe('a service that has ended', () => {
  it.each([
    ['stopped', false],
    ['killed', true],
  ])('is held by nothing in its process when it was %s', async (_, abruptly) => {
    const parts = await live(abruptly)

    const held: string[] = []
    for (const [name, part] of Object.entries(parts)) if (!(await isForgotten(part))) held.push(name)
    expect(held).toEqual([])
  })
})
