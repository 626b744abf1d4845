import { getEventListeners } from 'node:events'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, it } from 'vitest'
import { constant } from './backoff.js'
import { VirtualClock } from './internal/virtual-clock.js'
import { pipeline } from './pipeline.js'
import type { Policy, PolicyContext } from './policy.js'
import { retry } from './retry.js'
import { timeout } from './timeout.js'

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

/** One for the whole process, as for its shutdown. */
const shutdown = new AbortController()
const { signal } = shutdown

let retries = 0
/** Every hundredth retry waits, which takes a timer and a listener. */
const backoff = () => (++retries % 100 === 0 ? 1 : 0)

const policies: Record<string, Policy> = {
  retry: retry({ backoff, deadline: 60_000 }),
  timeout: timeout(60_000),
  pipeline: pipeline(timeout(60_000), retry({ backoff }), timeout(30_000)),
}

/** What a million calls may leave: less than a byte for each. */
const MOST_BYTES = 1_000_000

it.each(Object.entries(policies))(
  'a million calls through a %s under one signal leave no listener, no timer, no heap and no warning',
  async (_, policy) => {
    const warnings: Error[] = []
    const warn = (warning: Error) => warnings.push(warning)
    process.on('warning', warn)
    const timers = timersRunning()
    // Every hundredth fails at first, every tenth reads its signal.
    const operation = (calls: number) => {
      let attempts = 0
      return (context: PolicyContext) => {
        if (calls % 10 === 0) context.signal.throwIfAborted()
        if (calls % 100 === 0 && ++attempts === 1 && policy !== policies['timeout']) throw new Error('once')
      }
    }

    await run(policy, 20_000, operation)
    const before = heapUsed()
    await run(policy, 1_000_000 / Object.keys(policies).length, operation)
    const after = heapUsed()

    expect(after - before).toBeLessThan(MOST_BYTES)
    expect(getEventListeners(signal, 'abort')).toEqual([])
    expect(timersRunning()).toBeLessThanOrEqual(timers)
    // Warnings are told in a later turn.
    await new Promise((resolve) => setImmediate(resolve))
    process.off('warning', warn)
    expect(warnings).toEqual([])
  },
  30_000,
)

it('a thousand calls that wait at once under one signal have one listener for each policy, and none afterwards', async () => {
  const clock = new VirtualClock()
  const policy = pipeline(
    timeout(60_000, { clock }),
    retry({ backoff: constant(100), clock }),
    timeout(30_000, { clock }),
  )
  const attempts = new Map<number, number>()
  const calls = Array.from({ length: 1_000 }, (_, i) =>
    policy.execute(
      async (context) => {
        context.signal.throwIfAborted()
        attempts.set(i, (attempts.get(i) ?? 0) + 1)
        if (attempts.get(i) === 1) throw new Error('once')
      },
      { signal },
    ),
  )

  await clock.advance(50)
  expect(getEventListeners(signal, 'abort').length).toBeLessThanOrEqual(3)
  await clock.advance(100)
  await Promise.all(calls)

  expect(getEventListeners(signal, 'abort')).toEqual([])
  expect(clock.pending).toBe(0)
})

async function run(
  policy: Policy,
  calls: number,
  operation: (call: number) => (context: PolicyContext) => void,
): Promise<void> {
  for (let call = 0; call < calls; ) {
    const batch: Promise<void>[] = []
    // Not a power of ten, so that each kind of call is now the first and now the last.
    while (batch.length < 97) batch.push(policy.execute(operation(++call), { signal }))
    await Promise.all(batch)
  }
}

function heapUsed(): number {
  collectGarbage()
  collectGarbage()
  return process.memoryUsage().heapUsed
}

function timersRunning(): number {
  return process.getActiveResourcesInfo().filter((resource) => resource === 'Timeout').length
}
