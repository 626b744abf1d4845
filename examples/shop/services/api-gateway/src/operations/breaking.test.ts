import { createInstruments, type Instruments, type ServiceStatus } from '@shop/platform'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { type Breaking, createBreaking } from './breaking.js'
import type { Instance, Services } from './services.js'

/** The processes of one service, which answer as the operations of a service do, or are away. */
let processes: { readonly address: string; readonly faults: Instruments['faults']; away: boolean }[]
const gateways: Breaking[] = []

beforeEach(() => {
  vi.useFakeTimers()
  processes = []
  startProcess()
})

afterEach(() => {
  for (const gateway of gateways.splice(0)) gateway.close()
  vi.useRealTimers()
})

function startProcess() {
  const { faults } = createInstruments('products')
  const one = { address: `process-${processes.length}`, faults, away: false }
  processes.push(one)
  return one
}

const ids = () => processes.map(({ faults }) => faults.list().map(({ route }) => route))

const services: Services = {
  names: ['products'],
  instances: () => processes.filter(({ away }) => !away).map(({ address }) => ({ service: 'products', address })),
  async ask({ address }: Instance, path, init = {}) {
    const one = processes.find((process) => process.address === address)
    if (one === undefined || one.away) throw new Error('no answer')
    if (init.method === 'PUT')
      return new Response(null, { status: one.faults.set(JSON.parse(String(init.body))) ? 200 : 410 })
    if (init.method === 'DELETE') one.faults.clear(new URL(path, 'http://x').searchParams.get('id') ?? undefined)
    return Response.json(statusOf(one.faults))
  },
  askAll: async <T>() => processes.filter(({ away }) => !away).map(({ faults }) => statusOf(faults) as T),
  forward: () => Promise.reject(new Error('not asked here')),
}

function statusOf(faults: Instruments['faults'], service = 'products'): ServiceStatus {
  return { service, pid: 1, edges: [], faults: faults.list(), group: undefined }
}

function gateway(): Breaking {
  const instruments = createInstruments('api-gateway')
  const name = 'api-gateway'
  const made = createBreaking(services, { name, instruments, status: () => statusOf(instruments.faults, name) })
  gateways.push(made)
  return made
}

const slow = { service: 'products', route: '/slow', latency: 1 }
const aWhile = () => vi.advanceTimersByTimeAsync(2_000)

describe('a fault', () => {
  test('is on processes that come later, too', async () => {
    await gateway().set(slow)
    startProcess()
    await aWhile()

    expect(ids()).toEqual([['/slow'], ['/slow']])
  })

  test('stays away when one gateway set it and another one dropped it', async () => {
    const [setter, dropper] = [gateway(), gateway()]
    await setter.set(slow)
    await dropper.clear()
    await aWhile()
    startProcess()
    await aWhile()

    expect(ids()).toEqual([[], []])
    expect(await setter.list()).toEqual([])
  })

  test('is the last one that was set, whichever gateway set it', async () => {
    const [first, second] = [gateway(), gateway()]
    await first.set(slow)
    await second.set({ ...slow, latency: 2 })
    await aWhile()

    expect(processes[0]?.faults.list()).toMatchObject([{ latency: 2 }])
    expect(await first.list()).toMatchObject([{ latency: 2 }])
  })

  test('is dropped by a process that was away when all were dropped', async () => {
    const operator = gateway()
    await operator.set(slow)
    const [process] = processes
    if (process !== undefined) process.away = true
    await operator.clear()
    if (process !== undefined) process.away = false

    expect(await operator.list()).toEqual([])
    await aWhile()
    expect(ids()).toEqual([[]])
  })
})
