import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { type Comparison, SMOKE } from '../harness/index.js'
import { BENCHMARKS } from './index.js'
import { breakers, pipelines, retries, timeouts } from './policies.js'

/** Runs work under one policy. */
type Execute = (work: () => Promise<string>) => Promise<string>

describe.each(BENCHMARKS)('$name', ({ run }) => {
  test('measures every subject', async () => {
    const comparisons: Comparison[] = []
    for await (const comparison of run(SMOKE)) comparisons.push(comparison)

    expect(comparisons.length).toBeGreaterThan(0)
    for (const { rows } of comparisons) {
      expect(rows.filter(({ role }) => role === 'ours')).toHaveLength(1)
      expect(rows.filter(({ role }) => role === 'peer').length).toBeGreaterThan(0)
      for (const { amount } of rows) expect(amount.median).toEqual(expect.any(Number))
    }
    expect(comparisons.flatMap(({ rows }) => rows).some(({ target }) => target?.kind === 'target')).toBe(true)
  })
})

describe('what is measured does its work', () => {
  beforeEach(() => {
    vi.useFakeTimers()
  })

  afterEach(() => {
    vi.useRealTimers()
  })

  const retrying: Record<string, Execute> = {
    msx: (work) => retries.msx().execute(work),
    cockatiel: (work) => retries.cockatiel().execute(work),
    'p-retry': (work) => retries.pRetry(work),
    'msx pipeline': (work) => pipelines.msx().execute(work),
    'cockatiel wrap': (work) => pipelines.cockatiel().execute(work),
  }

  test.each(Object.entries(retrying))('%s retries twice and hands on the answer', async (_name, execute) => {
    const work = vi
      .fn(async () => 'done')
      .mockRejectedValueOnce(new Error('once'))
      .mockRejectedValueOnce(new Error('twice'))

    const answer = execute(work)
    await vi.advanceTimersByTimeAsync(60_000)

    expect(await answer).toBe('done')
    expect(work).toHaveBeenCalledTimes(3)
  })

  test.each(Object.entries(retrying))('%s gives up after three attempts', async (_name, execute) => {
    const last = new Error('down')
    const work = vi.fn(async (): Promise<string> => Promise.reject(last))

    const failure = execute(work).catch((error: unknown) => error)
    await vi.advanceTimersByTimeAsync(60_000)

    expect(await failure).toBe(last)
    expect(work).toHaveBeenCalledTimes(3)
  })

  const breaking: Record<string, () => Execute> = {
    msx: () => {
      const breaker = breakers.msx()
      return (work) => breaker.execute(work)
    },
    cockatiel: () => {
      const breaker = breakers.cockatiel()
      return (work) => breaker.execute(work)
    },
    opossum: () => {
      const breaker = breakers.opossum((work: () => Promise<string>) => work())
      return (work) => breaker.fire(work)
    },
  }

  test.each(Object.entries(breaking))('%s opens when twenty calls failed, and calls nobody', async (_name, make) => {
    const execute = make()
    const work = vi.fn(async (): Promise<string> => Promise.reject(new Error('down')))
    for (let i = 0; i < 20; i++) await expect(execute(work)).rejects.toThrow('down')

    await expect(execute(work)).rejects.not.toThrow('down')

    expect(work).toHaveBeenCalledTimes(20)
  })

  // Not cockatiel: after a silence it retires one bucket a call, so old failures count on (noted in the README).
  test.each(['msx', 'opossum'])('%s forgets what lies before its window', async (name) => {
    const execute = breaking[name]!()
    for (let i = 0; i < 19; i++) await expect(execute(async () => Promise.reject(new Error('down')))).rejects.toThrow()

    await vi.advanceTimersByTimeAsync(10 * 60_000)
    for (let i = 0; i < 10; i++) await execute(async () => 'up')
    await expect(execute(async () => Promise.reject(new Error('down')))).rejects.toThrow('down')

    expect(await execute(async () => 'closed')).toBe('closed')
  })

  const limiting: Record<string, Execute> = {
    msx: (work) => timeouts.msx().execute(work),
    cockatiel: (work) => timeouts.cockatiel().execute(work),
    'p-timeout': (work) => timeouts.pTimeout(work),
  }

  test.each(Object.entries(limiting))('%s lets the caller go after a second', async (_name, execute) => {
    const settled = vi.fn()
    const failure = execute(() => new Promise(() => {})).catch(settled)

    await vi.advanceTimersByTimeAsync(999)
    expect(settled).not.toHaveBeenCalled()
    await vi.advanceTimersByTimeAsync(10)
    await failure

    expect(settled.mock.calls[0]![0].message).toMatch(/1.?000 ?m/)
  })

  test.each(Object.entries(limiting))('%s hands on an answer that comes in time', async (_name, execute) => {
    expect(await execute(async () => 'done')).toBe('done')
    expect(vi.getTimerCount()).toBeLessThanOrEqual(1)
  })
})

test('a process with a breaker, closed or open, ends by itself', async () => {
  const program = `
    import { circuitBreaker } from '@msx/circuit-breaker'
    const breaker = circuitBreaker({ trip: { failures: 1 } })
    await breaker.execute(async () => 1)
    await breaker.execute(() => Promise.reject(new Error('down'))).catch(() => {})
    console.log(breaker.state, JSON.stringify(process.getActiveResourcesInfo().filter((name) => /time/i.test(name))))`

  const node = promisify(execFile)(process.execPath, ['--input-type=module', '--eval', program], {
    cwd: import.meta.dirname,
    timeout: 20_000,
  })

  expect((await node).stdout).toBe('open []\n')
})
