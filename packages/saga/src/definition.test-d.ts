import { expectTypeOf, test } from 'vitest'
import { createSagaEngine, type Definition, memoryStore, type Queryable, type Stored, saga } from './index.js'

test('what JSON gives back', () => {
  expectTypeOf<Stored<Date>>().toEqualTypeOf<string>()
  expectTypeOf<Stored<void>>().toEqualTypeOf<undefined>()
  expectTypeOf<Stored<{ at: Date; run(): void; tags: readonly Date[] }>>().toEqualTypeOf<{
    at: string
    tags: readonly string[]
  }>()
  expectTypeOf<Stored<bigint>>().toEqualTypeOf<never>()
  expectTypeOf<Stored<'a' | Date | null>>().toEqualTypeOf<string | null>()
})

test('later steps know the results of the earlier ones', () => {
  const order = saga<{ id: string; at: Date }>('order')
    .step('reserve', ({ input, results }) => {
      expectTypeOf(input).toEqualTypeOf<{ id: string; at: string }>()
      expectTypeOf<keyof typeof results>().toEqualTypeOf<never>()
      return { until: new Date() }
    })
    .step('authorise', async ({ results }) => results.reserve.until.length, {
      compensate({ outcome, results, forwardKey }) {
        if (outcome.known) expectTypeOf(outcome.result).toEqualTypeOf<number>()
        else expectTypeOf(outcome.error).toEqualTypeOf<unknown>()
        expectTypeOf(results.reserve.until).toEqualTypeOf<string>()
        expectTypeOf(forwardKey).toEqualTypeOf<string>()
        // @ts-expect-error the step that is undone has an outcome, not a result
        return results.authorise
      },
    })
    .txPivot('confirm', async (tx, { results }) => {
      expectTypeOf(tx).toEqualTypeOf<Queryable>()
      expectTypeOf(results.authorise).toEqualTypeOf<number>()
    })
    .step('ship', () => 'van')
    .returns(({ results, input }) => ({ van: results.ship, at: input.at, confirmed: results.confirm }))

  expectTypeOf(order).toExtend<
    Definition<
      { id: string; at: Date },
      {
        readonly reserve: { until: string }
        readonly authorise: number
        readonly confirm: undefined
        readonly ship: string
      },
      { van: string; at: string; confirmed: undefined }
    >
  >()

  const engine = createSagaEngine({ store: memoryStore(), sagas: [order] })
  ;async (): Promise<void> => {
    const handle = await engine.start(order, { id: '1', at: new Date() })
    expectTypeOf(await handle.result()).toEqualTypeOf<{ van: string; at: string; confirmed: undefined }>()
    // @ts-expect-error not the input of this saga
    await engine.start(order, { id: 1, at: new Date() })
  }
})

test('what must not compile', () => {
  const begin = saga<null>('order').step('a', () => 1)
  // @ts-expect-error the name of an earlier step
  void (() => begin.step('a', () => 2))
  // @ts-expect-error no such result
  void (() => begin.step('b', ({ results }) => results.c))

  const committed = begin.pivot('p', () => 1)
  // @ts-expect-error nothing is undone after the pivot
  void (() => committed.step('b', () => 1, { compensate: () => undefined }))
  // @ts-expect-error one pivot is enough
  void (() => committed.pivot('q', () => 1))
  // @ts-expect-error nor is the pivot
  void (() => begin.pivot('q', () => 1, { compensate: () => undefined }))

  interface Other {
    readonly other: true
  }
  const foreign = saga<null, Other>('foreign')
    .txStep('a', (tx) => tx.other)
    .returns(() => null)
  // @ts-expect-error the store has transactions of another kind
  void (() => createSagaEngine({ store: memoryStore(), sagas: [foreign] }))
})
