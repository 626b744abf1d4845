import { expectTypeOf, test } from 'vitest'
import {
  createSagaEngine,
  type Definition,
  eventType,
  memoryStore,
  type Queryable,
  type Stored,
  saga,
} from './index.js'

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

test('what comes after a branch, a wait, a sleep, a child', () => {
  const paid = eventType<{ at: Date }>('paid')
  const small = saga<{ n: number }>('small')
    .step('x', ({ input }) => new Date(input.n))
    .returns(({ results }) => ({ x: results.x }))

  const order = saga<{ id: string }>('order')
    .step('a', () => 1)
    .sleep('pause', ({ results }) => results.a)
    .when(({ results }) => results.a > 0)
    .step('b', () => 'b', {
      compensate: ({ outcome }) => {
        if (outcome.known) expectTypeOf(outcome.result).toEqualTypeOf<string>()
      },
    })
    .when(({ results }) => results.b !== undefined)
    .child('small', small, ({ results }) => ({ n: results.a }))
    .waitFor('paid', paid, { key: ({ input }) => input.id })
    .waitFor('late', paid, { key: ({ results }) => results.b ?? '', timeout: 1, onTimeout: 'continue' })
    .parallel(
      (b) => ({
        p: b.step(({ results }) => results.a, {
          compensate: ({ outcome }) => {
            if (outcome.known) expectTypeOf(outcome.result).toEqualTypeOf<number>()
          },
        }),
        q: b.txStep(async (tx) => {
          expectTypeOf(tx).toEqualTypeOf<Queryable>()
          return new Date()
        }),
        r: b.child(small, () => ({ n: 1 })),
        s: b.waitFor(paid, { key: () => 'k', onTimeout: 'continue' }),
      }),
      { concurrency: 2 },
    )
    .pivot('pay', ({ results }) => results.q)
    .returns(({ results }) => {
      expectTypeOf(results.pause).toEqualTypeOf<undefined>()
      expectTypeOf(results.b).toEqualTypeOf<string | undefined>()
      expectTypeOf(results.small).toEqualTypeOf<{ x: string } | undefined>()
      expectTypeOf(results.paid).toEqualTypeOf<{ at: string }>()
      expectTypeOf(results.late).toEqualTypeOf<{ at: string } | undefined>()
      expectTypeOf(results.p).toEqualTypeOf<number>()
      expectTypeOf(results.q).toEqualTypeOf<string>()
      expectTypeOf(results.r).toEqualTypeOf<{ x: string }>()
      expectTypeOf(results.s).toEqualTypeOf<{ at: string } | undefined>()
      return results.pay
    })

  const engine = createSagaEngine({ store: memoryStore(), sagas: [order] })
  ;async (): Promise<void> => {
    expectTypeOf(await (await engine.start(order, { id: '1' })).result()).toEqualTypeOf<string>()
    expectTypeOf(await engine.send(paid, 'k', { at: new Date() })).toEqualTypeOf<
      'delivered' | 'buffered' | 'duplicate'
    >()
    // @ts-expect-error not what this event brings
    await engine.send(paid, 'k', { at: 1 })
  }
})

test('98 steps', () => {
  const c0 = saga<null>('long').step('s0', () => 0)
  const c1 = c0.step('s1', ({ results }) => results.s0 + 1)
  const c2 = c1.step('s2', ({ results }) => results.s1 + 1)
  const c3 = c2.step('s3', ({ results }) => results.s2 + 1)
  const c4 = c3.step('s4', ({ results }) => results.s3 + 1)
  const c5 = c4.step('s5', ({ results }) => results.s4 + 1)
  const c6 = c5.step('s6', ({ results }) => results.s5 + 1)
  const c7 = c6.step('s7', ({ results }) => results.s6 + 1)
  const c8 = c7.step('s8', ({ results }) => results.s7 + 1)
  const c9 = c8.step('s9', ({ results }) => results.s8 + 1)
  const c10 = c9.step('s10', ({ results }) => results.s9 + 1)
  const c11 = c10.step('s11', ({ results }) => results.s10 + 1)
  const c12 = c11.step('s12', ({ results }) => results.s11 + 1)
  const c13 = c12.step('s13', ({ results }) => results.s12 + 1)
  const c14 = c13.step('s14', ({ results }) => results.s13 + 1)
  const c15 = c14.step('s15', ({ results }) => results.s14 + 1)
  const c16 = c15.step('s16', ({ results }) => results.s15 + 1)
  const c17 = c16.step('s17', ({ results }) => results.s16 + 1)
  const c18 = c17.step('s18', ({ results }) => results.s17 + 1)
  const c19 = c18.step('s19', ({ results }) => results.s18 + 1)
  const c20 = c19.step('s20', ({ results }) => results.s19 + 1)
  const c21 = c20.step('s21', ({ results }) => results.s20 + 1)
  const c22 = c21.step('s22', ({ results }) => results.s21 + 1)
  const c23 = c22.step('s23', ({ results }) => results.s22 + 1)
  const c24 = c23.step('s24', ({ results }) => results.s23 + 1)
  const c25 = c24.step('s25', ({ results }) => results.s24 + 1)
  const c26 = c25.step('s26', ({ results }) => results.s25 + 1)
  const c27 = c26.step('s27', ({ results }) => results.s26 + 1)
  const c28 = c27.step('s28', ({ results }) => results.s27 + 1)
  const c29 = c28.step('s29', ({ results }) => results.s28 + 1)
  const c30 = c29.step('s30', ({ results }) => results.s29 + 1)
  const c31 = c30.step('s31', ({ results }) => results.s30 + 1)
  const c32 = c31.step('s32', ({ results }) => results.s31 + 1)
  const c33 = c32.step('s33', ({ results }) => results.s32 + 1)
  const c34 = c33.step('s34', ({ results }) => results.s33 + 1)
  const c35 = c34.step('s35', ({ results }) => results.s34 + 1)
  const c36 = c35.step('s36', ({ results }) => results.s35 + 1)
  const c37 = c36.step('s37', ({ results }) => results.s36 + 1)
  const c38 = c37.step('s38', ({ results }) => results.s37 + 1)
  const c39 = c38.step('s39', ({ results }) => results.s38 + 1)
  const c40 = c39.step('s40', ({ results }) => results.s39 + 1)
  const c41 = c40.step('s41', ({ results }) => results.s40 + 1)
  const c42 = c41.step('s42', ({ results }) => results.s41 + 1)
  const c43 = c42.step('s43', ({ results }) => results.s42 + 1)
  const c44 = c43.step('s44', ({ results }) => results.s43 + 1)
  const c45 = c44.step('s45', ({ results }) => results.s44 + 1)
  const c46 = c45.step('s46', ({ results }) => results.s45 + 1)
  const c47 = c46.step('s47', ({ results }) => results.s46 + 1)
  const c48 = c47.step('s48', ({ results }) => results.s47 + 1)
  const c49 = c48.step('s49', ({ results }) => results.s48 + 1)
  const c50 = c49.step('s50', ({ results }) => results.s49 + 1)
  const c51 = c50.step('s51', ({ results }) => results.s50 + 1)
  const c52 = c51.step('s52', ({ results }) => results.s51 + 1)
  const c53 = c52.step('s53', ({ results }) => results.s52 + 1)
  const c54 = c53.step('s54', ({ results }) => results.s53 + 1)
  const c55 = c54.step('s55', ({ results }) => results.s54 + 1)
  const c56 = c55.step('s56', ({ results }) => results.s55 + 1)
  const c57 = c56.step('s57', ({ results }) => results.s56 + 1)
  const c58 = c57.step('s58', ({ results }) => results.s57 + 1)
  const c59 = c58.step('s59', ({ results }) => results.s58 + 1)
  const c60 = c59.step('s60', ({ results }) => results.s59 + 1)
  const c61 = c60.step('s61', ({ results }) => results.s60 + 1)
  const c62 = c61.step('s62', ({ results }) => results.s61 + 1)
  const c63 = c62.step('s63', ({ results }) => results.s62 + 1)
  const c64 = c63.step('s64', ({ results }) => results.s63 + 1)
  const c65 = c64.step('s65', ({ results }) => results.s64 + 1)
  const c66 = c65.step('s66', ({ results }) => results.s65 + 1)
  const c67 = c66.step('s67', ({ results }) => results.s66 + 1)
  const c68 = c67.step('s68', ({ results }) => results.s67 + 1)
  const c69 = c68.step('s69', ({ results }) => results.s68 + 1)
  const c70 = c69.step('s70', ({ results }) => results.s69 + 1)
  const c71 = c70.step('s71', ({ results }) => results.s70 + 1)
  const c72 = c71.step('s72', ({ results }) => results.s71 + 1)
  const c73 = c72.step('s73', ({ results }) => results.s72 + 1)
  const c74 = c73.step('s74', ({ results }) => results.s73 + 1)
  const c75 = c74.step('s75', ({ results }) => results.s74 + 1)
  const c76 = c75.step('s76', ({ results }) => results.s75 + 1)
  const c77 = c76.step('s77', ({ results }) => results.s76 + 1)
  const c78 = c77.step('s78', ({ results }) => results.s77 + 1)
  const c79 = c78.step('s79', ({ results }) => results.s78 + 1)
  const c80 = c79.step('s80', ({ results }) => results.s79 + 1)
  const c81 = c80.step('s81', ({ results }) => results.s80 + 1)
  const c82 = c81.step('s82', ({ results }) => results.s81 + 1)
  const c83 = c82.step('s83', ({ results }) => results.s82 + 1)
  const c84 = c83.step('s84', ({ results }) => results.s83 + 1)
  const c85 = c84.step('s85', ({ results }) => results.s84 + 1)
  const c86 = c85.step('s86', ({ results }) => results.s85 + 1)
  const c87 = c86.step('s87', ({ results }) => results.s86 + 1)
  const c88 = c87.step('s88', ({ results }) => results.s87 + 1)
  const c89 = c88.step('s89', ({ results }) => results.s88 + 1)
  const c90 = c89.step('s90', ({ results }) => results.s89 + 1)
  const c91 = c90.step('s91', ({ results }) => results.s90 + 1)
  const c92 = c91.step('s92', ({ results }) => results.s91 + 1)
  const c93 = c92.step('s93', ({ results }) => results.s92 + 1)
  const c94 = c93.step('s94', ({ results }) => results.s93 + 1)
  const c95 = c94.step('s95', ({ results }) => results.s94 + 1)
  const c96 = c95.step('s96', ({ results }) => results.s95 + 1)
  const c97 = c96.step('s97', ({ results }) => results.s96 + 1)
  expectTypeOf(c97.returns(({ results }) => results.s0 + results.s97)).toExtend<Definition<null, unknown, number>>()
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

  const paid = eventType<number>('paid')
  const small = saga<{ n: number }>('small').returns(() => 'small')
  // @ts-expect-error the name of an earlier step
  void (() => begin.sleep('a', 1))
  // @ts-expect-error the name of an earlier step
  void (() => begin.waitFor('a', paid, { key: () => 'k' }))
  // @ts-expect-error the name of an earlier step
  void (() => begin.child('a', small, () => ({ n: 1 })))
  // @ts-expect-error not the input of that saga
  void (() => begin.child('b', small, () => ({ n: 'x' })))
  // @ts-expect-error the name of an earlier step
  void (() => begin.parallel((b) => ({ a: b.step(() => 1) })))
  // @ts-expect-error branches do not see each other
  void (() => begin.parallel((b) => ({ x: b.step(() => 1), y: b.step(({ results }) => results.x) })))
  // @ts-expect-error nothing is undone after the pivot, in branches neither
  void (() => committed.parallel((b) => ({ b: b.step(() => 1, { compensate: () => undefined }) })))
  // @ts-expect-error a condition is for one step, and a pivot is not optional
  void (() => begin.when(() => true).pivot('b', () => 1))
  // @ts-expect-error only what the saga knows by then
  void (() => begin.when(({ results }) => results.b === 1).step('b', () => 1))
  const maybe = begin.when(() => true).step('b', () => 1)
  // @ts-expect-error it may have been left out
  void (() => maybe.step('c', ({ results }) => results.b.toFixed()))
  const late = begin.waitFor('b', paid, { key: () => 'k', onTimeout: 'continue' })
  // @ts-expect-error it may not have come
  void (() => late.step('c', ({ results }) => results.b.toFixed()))

  interface Other {
    readonly other: true
  }
  const foreign = saga<null, Other>('foreign')
    .txStep('a', (tx) => tx.other)
    .returns(() => null)
  // @ts-expect-error the store has transactions of another kind
  void (() => createSagaEngine({ store: memoryStore(), sagas: [foreign] }))
})
