import { expect, test } from 'vitest'
import { createSagaEngine, memoryStore, type SagaEngine, StepRejectedError, saga } from './index.js'
import { Process, Timeline } from './soak/timeline.js'
import { VERBS } from './testing/mortal.js'

/*
 * A worker that is stopped in the middle of a step, as a paused container is, has sent its request or will send it when it
 * goes on; meanwhile another carries on. What the second one hears says nothing of that request. Time is virtual.
 */
const TTL = 1_000
const MINUTE = 60_000

interface Stage {
  readonly timeline: Timeline
  /** Keys under which the bank has taken money, and what was released for it. */
  readonly bank: Set<string>
  readonly undone: string[]
  readonly desk: SagaEngine
  readonly id: string
  /** A worker whose pivot is `charge`. */
  hire(charge: Charge): Promise<Process>
  pass(ms: number): Promise<void>
}

type Charge = (bank: () => string, process: Process, attempt: number) => unknown

const reached = (process: Process): Promise<void> => new Promise((resolve) => process.reach(resolve))
/** It is stopped just before it sends its request, and sends it when it goes on. */
const stopsFirst: Charge = async (bank, process) => {
  process.stop()
  await reached(process)
  return bank()
}
const pays: Charge = (bank) => bank()
const fails =
  (error: Error): Charge =>
  () => {
    throw error
  }

async function stage(options: { attempts: number; backoff?: number; deadline?: number }): Promise<Stage> {
  const timeline = new Timeline()
  const clock = { now: () => timeline.now() }
  const store = memoryStore({ clock })
  const [bank, undone] = [new Set<string>(), [] as string[]]
  const take = (key: string): string => {
    bank.add(key)
    return key
  }
  const define = (process: Process, charge: Charge) =>
    saga<null>('order')
      .step('reserve', () => 'reserved', { compensate: () => void undone.push('reserve') })
      .pivot('charge', ({ key, attempt }) => charge(() => take(key), process, attempt) as string, {
        timeout: 1e9,
        retry: { attempts: options.attempts, backoff: () => options.backoff ?? 0 },
      })
      .returns(({ results }) => results.charge)
  const engineOf = (process: Process, definition: ReturnType<typeof define>): SagaEngine =>
    createSagaEngine({
      store: reachedBy(process, store),
      sagas: [definition],
      clock: process.clock,
      lease: { ttl: TTL },
      random: () => 0.5,
    })
  const pass = async (ms: number): Promise<void> => {
    let over = false
    timeline.after(ms, () => {
      over = true
    })
    await timeline.until(() => over)
  }

  let workers = 0
  const office = new Process(timeline, 'desk')
  const definition = define(office, pays)
  const desk = engineOf(office, definition)
  const { id } = await desk.start(definition, null, { deadline: options.deadline })
  return {
    ...{ timeline, bank, undone, desk, id, pass },
    async hire(charge) {
      const process = new Process(timeline, `worker ${++workers}`)
      await engineOf(process, define(process, charge)).run()
      return process
    },
  }
}

/** The store as this process reaches it: what it asks, and is answered, while it is stopped, waits. */
function reachedBy(process: Process, store: ReturnType<typeof memoryStore>): ReturnType<typeof memoryStore> {
  const wrapped: Record<string, unknown> = { transactional: false }
  for (const verb of VERBS)
    wrapped[verb] = async (...args: unknown[]) => {
      await reached(process)
      const answer = await (store[verb] as (...given: unknown[]) => Promise<unknown>).apply(store, args)
      await reached(process)
      return answer
    }
  return wrapped as unknown as typeof store
}

test('a pivot that an earlier worker may still send is not taken back when the deadline passes', async () => {
  const { bank, undone, desk, id, hire, pass } = await stage({ attempts: Infinity, backoff: MINUTE, deadline: 10_000 })
  const first = await hire(stopsFirst)
  await pass(100)
  await hire((pay, _, attempt) => (attempt === 1 ? fails(new Error('no answer'))(pay, _, 1) : pay()))
  await pass(3 * TTL)
  expect((await desk.history(id)).at(-1)).toMatchObject({ name: 'charge', outcome: 'in_doubt' })
  expect(bank.size).toBe(0)

  first.go()
  await pass(100)
  expect(bank.size).toBe(1)
  await pass(MINUTE)

  expect(await desk.get(id)).toMatchObject({ status: 'completed' })
  expect([bank.size, undone]).toEqual([1, []])
})

test('a pivot that fails for good while an earlier worker may still send it is for an operator to look at', async () => {
  const { bank, undone, desk, id, hire, pass } = await stage({ attempts: 1 })
  const first = await hire(stopsFirst)
  await pass(100)
  const second = await hire(fails(new Error('no answer')))
  await pass(3 * TTL)

  expect(await desk.get(id)).toMatchObject({ status: 'stuck', step: 'charge', error: { message: 'no answer' } })
  expect(await desk.cancel(id, { reason: 'r' })).toBe('refused-after-pivot')
  first.go()
  await pass(100)
  expect([bank.size, undone]).toEqual([1, []])
  second.kill()
  await hire(pays)
  const { rev } = (await desk.get(id)) ?? { rev: 0 }
  await desk.resume(id, { do: 'retry', step: 'charge', by: 'ann', reason: 'the bank has it', rev })
  await pass(3 * TTL)

  expect(await desk.get(id)).toMatchObject({ status: 'completed' })
  expect(undone).toEqual([])
})

test('a pivot that says that its key is refused is believed, whoever began it before', async () => {
  const { bank, undone, desk, id, hire, pass } = await stage({ attempts: 1 })
  await hire(stopsFirst)
  await pass(100)
  await hire(fails(new StepRejectedError('declined')))
  await pass(3 * TTL)

  expect(await desk.get(id)).toMatchObject({ status: 'compensated', error: { message: 'declined' } })
  expect([bank.size, undone]).toEqual([0, ['reserve']])
})

test('a doubt that comes up after more failures than are written down is written down', async () => {
  const { bank, undone, desk, id, hire, pass } = await stage({ attempts: 26 })
  const first = await hire((pay, process, attempt) =>
    attempt < 25 ? fails(new Error('busy'))(pay, process, attempt) : stopsFirst(pay, process, attempt),
  )
  await pass(500)
  expect((await desk.history(id)).length).toBeLessThan(25)
  await hire(fails(new Error('busy')))
  await pass(3 * TTL)

  expect(await desk.get(id)).toMatchObject({ status: 'stuck', step: 'charge' })
  first.go()
  await pass(100)
  expect([bank.size, undone]).toEqual([1, []])
})

test('an operator who has it tried again does not take the doubt away', async () => {
  const { bank, undone, desk, id, hire, pass } = await stage({ attempts: 1 })
  const stopped: Process[] = []
  while ((await desk.get(id))?.status !== 'stuck') {
    stopped.push(await hire(stopsFirst))
    await pass(3 * TTL)
  }
  expect((await desk.get(id))?.error?.message).toContain('times without progress')
  expect(await desk.cancel(id, { reason: 'r' })).toBe('refused-after-pivot')
  stopped.pop()?.kill()

  const { rev } = (await desk.get(id)) ?? { rev: 0 }
  await desk.resume(id, { do: 'retry', step: 'charge', by: 'ann', reason: 'repaired', rev })
  await hire(fails(new Error('no answer')))
  await pass(3 * TTL)

  expect(await desk.get(id)).toMatchObject({ status: 'stuck', error: { message: 'no answer' } })
  stopped[0]?.go()
  await pass(100)
  expect([bank.size, undone]).toEqual([1, []])
})
