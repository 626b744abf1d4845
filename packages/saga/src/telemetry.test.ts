import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { createSagaEngine, memoryStore, saga, type Telemetry } from './index.js'

/* Telemetry that goes wrong in each of its calls: sagas start, run and end as without it, and its mistakes are warnings. */
const bug = new Error('bug')
const throwing = (): never => {
  throw bug
}
const well: Telemetry = {
  start: () => ({ carrier: undefined, end: () => undefined }),
  run: () => ({ attempt: (_, work) => work(), end: () => undefined }),
}
const running = (run: object): Telemetry => ({ ...well, run: () => ({ ...well.run({} as never, undefined), ...run }) })

const warnings = vi.fn()
beforeEach(() => {
  vi.spyOn(process, 'emitWarning').mockImplementation(warnings)
})
afterEach(() => {
  vi.restoreAllMocks()
  warnings.mockClear()
})

test.each([
  ['a start that throws', { ...well, start: throwing }],
  ['a start that gives nothing', { ...well, start: () => undefined as never }],
  ['a start that rejects', { ...well, start: () => Promise.reject(bug) as never }],
  ['a carrier that is no text', { ...well, start: () => ({ carrier: {} as never, end: () => undefined }) }],
  [
    'a carrier that throws',
    {
      ...well,
      start: () => ({
        get carrier() {
          return throwing()
        },
        end: () => undefined,
      }),
    },
  ],
  ['an end of the start that throws', { ...well, start: () => ({ carrier: undefined, end: throwing }) }],
  ['a run that throws', { ...well, run: throwing }],
  ['a run that gives nothing', { ...well, run: () => undefined as never }],
  ['an attempt that throws before its step', running({ attempt: throwing })],
  ['an attempt that rejects before its step', running({ attempt: () => Promise.reject(bug) })],
  [
    'an attempt that throws beside its step',
    running({
      attempt: (_: unknown, work: () => unknown) => {
        void work()
        throw bug
      },
    }),
  ],
  [
    'an attempt that fails after its step',
    running({ attempt: (_: unknown, work: () => Promise<unknown>) => work().finally(throwing) }),
  ],
  ['an attempt that leaves its step out', running({ attempt: async () => 'nothing' })],
  [
    'an attempt that does its step twice',
    running({ attempt: async (_: unknown, work: () => Promise<unknown>) => [await work(), await work()] }),
  ],
  ['an end that throws', running({ end: throwing })],
  ['an end that rejects', running({ end: () => Promise.reject(bug) })],
] as [string, Telemetry][])('%s harms no saga', async (what, telemetry) => {
  const ran: string[] = []
  const declined = new Error('declined')
  const order = saga<boolean>('order')
    .step('a', () => `a${ran.push('a')}`, { compensate: () => void ran.push('undo a') })
    .step('b', ({ input }) => (input ? `b${ran.push('b')}` : Promise.reject(declined)), { retry: { attempts: 1 } })
    .returns(({ results }) => results)
  const engine = createSagaEngine({ store: memoryStore(), sagas: [order], telemetry })
  await engine.run()

  expect(await (await engine.start(order, true)).result()).toEqual({ a: 'a1', b: 'b2' })
  const failed = await engine.start(order, false)
  await expect(failed.result()).rejects.toMatchObject({ cause: { message: 'declined' } })
  await engine.close()

  expect(ran).toEqual(['a', 'b', 'a', 'undo a'])
  const [told, codes] = [0, 1].map((at) => warnings.mock.calls.map((call) => call[at]))
  expect(codes?.filter(({ code }) => code !== 'MSX_SAGA_TELEMETRY')).toEqual([])
  expect(told?.includes(bug)).toBe(/throws|rejects|fails/.test(what))
})

test('the error of a step that comes through telemetry is no mistake of it', async () => {
  const order = saga<null>('order')
    .step('a', () => Promise.reject(new Error('no')), { retry: { attempts: 1 } })
    .returns(() => null)
  const engine = createSagaEngine({ store: memoryStore(), sagas: [order], telemetry: well })
  await engine.run()

  await expect((await engine.start(order, null)).result()).rejects.toMatchObject({ cause: { message: 'no' } })
  await engine.close()

  expect(warnings).not.toHaveBeenCalled()
})

test('a step begins when its telemetry lets it', async () => {
  const heard: string[] = []
  const order = saga<null>('order')
    .step('a', () => void heard.push('the step'))
    .returns(() => null)
  const attempt = async (_: unknown, work: () => Promise<unknown>) => {
    await new Promise(setImmediate)
    heard.push('telemetry')
    return work()
  }
  const engine = createSagaEngine({ store: memoryStore(), sagas: [order], telemetry: running({ attempt }) })
  await engine.run()

  await (await engine.start(order, null)).result()
  await engine.close()

  expect(heard).toEqual(['telemetry', 'the step'])
})

test.each([
  [{}, /^createSagaEngine: telemetry.start must be a function, not undefined$/],
  [null, /^createSagaEngine: telemetry.start must be a function, not undefined$/],
  [{ start: throwing, run: 7 }, /^createSagaEngine: telemetry.run must be a function, not 7$/],
])('%o is no telemetry', (telemetry, message) => {
  expect(() => createSagaEngine({ store: memoryStore(), sagas: [], telemetry: telemetry as never })).toThrow(message)
})
