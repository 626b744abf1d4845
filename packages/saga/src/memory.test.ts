import { expect, test } from 'vitest'
import { memoryStore } from './memory.js'
import { FRESH } from './state.js'
import type { NewSaga, SagaRow, Transition } from './store.js'

/* What one saga costs must not grow with the number of the others. */
const [FEW, MANY] = [1_000, 12_000]
/** A saga among many may cost so many times what it costs among few; with a look at all others for each it is twelve times. */
const MOST = 7

const worker = crypto.randomUUID()
const mailOf = (id: string) => ({ event: 'paid', key: id, messageId: undefined, payload: '1' })

function newSaga(given: Partial<NewSaga> = {}): NewSaga {
  const id = crypto.randomUUID()
  const rest = { key: undefined, input: undefined, tags: {}, delay: 0, deadline: undefined, worker: undefined }
  return { id, name: 'order', version: 1, shape: 's', progress: FRESH, ...rest, ...given }
}

function transition({ id, fence, rev, progress }: SagaRow, given: Partial<Transition> = {}): Transition {
  const rest = { claims: 1, wakeIn: undefined, output: undefined, finished: false, record: undefined }
  return { id, fence, rev, token: crypto.randomUUID(), keep: true, progress, ...rest, ...given }
}

/** Milliseconds of the processor for each of so many, in the quickest of three rounds. */
async function costOf(many: number, round: (many: number) => Promise<() => Promise<void>>): Promise<number> {
  let best = Infinity
  for (let i = 0; i < 3; i++) {
    const work = await round(many)
    const begun = process.cpuUsage()
    await work()
    const { user, system } = process.cpuUsage(begun)
    best = Math.min(best, (user + system) / 1_000 / many)
  }
  return best
}

/** A store in which so many sagas wait, each for an event of its own. */
async function waiting(many: number) {
  const store = memoryStore()
  await store.enlist(worker, 60_000)
  const sagas = await Promise.all(Array.from({ length: many }, () => store.create(newSaga({ worker }))))
  for (const { saga } of sagas) await store.receive(saga.id, { ...mailOf(saga.id), step: 'w' }, () => undefined)
  return { store, sagas }
}

test('an event costs the same however many sagas wait for others', { timeout: 60_000 }, async () => {
  const round = async (many: number): Promise<() => Promise<void>> => {
    const { store, sagas } = await waiting(many)
    return async () => {
      for (const { saga } of sagas) {
        await store.deliver(mailOf(saga.id))
        await store.receive(saga.id, { ...mailOf(saga.id), step: 'w' }, () => transition(saga))
      }
    }
  }

  expect((await costOf(MANY, round)) / (await costOf(FEW, round))).toBeLessThan(MOST)
})

test('a saga that stops to wait costs the same however many wait on', { timeout: 60_000 }, async () => {
  const round = async (many: number): Promise<() => Promise<void>> => {
    const { store, sagas } = await waiting(many)
    return async () => {
      for (const { saga } of sagas) await store.commit([transition(saga, { unwait: true })])
    }
  }

  expect((await costOf(MANY, round)) / (await costOf(FEW, round))).toBeLessThan(MOST)
})

test('taking sagas of a limited name counts those that run once, not for each', { timeout: 60_000 }, async () => {
  const round = async (many: number): Promise<() => Promise<void>> => {
    const store = memoryStore()
    await store.enlist(worker, 60_000)
    for (let i = 0; i < many; i++) await store.create(newSaga())
    return async () => {
      const can = [{ name: 'order', version: 1, maxRunning: 5 }]
      expect(await store.claim({ worker, can, limit: many })).toHaveLength(5)
    }
  }

  expect((await costOf(MANY, round)) / (await costOf(FEW, round))).toBeLessThan(MOST)
})
