import { describe, expect, test } from 'vitest'
import { eventType, StepRejectedError, saga } from './index.js'
import { crashPoints, testSaga } from './testing.js'

describe('testSaga', () => {
  const paid = eventType<{ amount: number }>('paid')
  const begin = () =>
    saga<{ id: string }>('order')
      .step('reserve', () => 'reserved', { compensate: () => undefined })
      .step('charge', () => 'charged', { compensate: () => undefined })

  test('tells what came of it', async () => {
    const order = begin().returns(({ results, input }) => [input.id, results.charge])

    const { status, result, calls, undone, timeline } = await testSaga(order).given({ id: '1' }).run()

    expect({ status, result, calls, undone }).toEqual({
      status: 'completed',
      result: ['1', 'charged'],
      calls: ['reserve', 'charge'],
      undone: [],
    })
    expect(timeline).toContain('charge   ok')
  })

  test('lets steps fail, some attempts or all, in no time', async () => {
    const order = begin().returns(() => 'done')
    const began = performance.now()

    const some = await testSaga(order).given({ id: '1' }).fail('charge', { times: 2 }).run()
    const all = await testSaga(order).given({ id: '1' }).fail('charge').run()
    const refused = await testSaga(order)
      .given({ id: '1' })
      .fail('charge', { error: new StepRejectedError('no') })
      .run()

    expect([some.status, some.calls]).toEqual(['completed', ['reserve', 'charge', 'charge', 'charge']])
    expect([all.status, all.undone, all.error?.message]).toEqual([
      'compensated',
      ['charge', 'reserve'],
      "'charge' was made to fail",
    ])
    expect([refused.calls, refused.undone]).toEqual([['reserve', 'charge'], ['reserve']])
    expect(performance.now() - began).toBeLessThan(3_000)
  })

  test('loses answers, and lets compensations fail', async () => {
    let charges = 0
    const order = begin()
      .step('ship', () => void charges++, { compensate: () => void charges-- })
      .returns(() => 'done')

    const lost = await testSaga(order).given({ id: '1' }).inDoubt('ship').run()
    expect([lost.status, lost.undone]).toEqual(['compensated', ['ship', 'charge', 'reserve']])
    expect(charges).toBe(2)

    const stuck = await testSaga(order).given({ id: '1' }).fail('ship').failUndo('charge').run()
    expect([stuck.status, stuck.step]).toEqual(['stuck', 'charge'])
  })

  test('sends events and lets time pass', async () => {
    const order = begin()
      .sleep('night', 86_400_000)
      .sleep('year', 365 * 86_400_000)
      .waitFor('payment', paid, { key: ({ input }) => input.id, timeout: 60_000 })
      .returns(({ results }) => results.payment.amount)
    const given = () => testSaga(order).given({ id: '1' })

    expect(await given().run()).toMatchObject({ status: 'waiting', step: 'night' })
    expect(await given().advance(86_000_000).run()).toMatchObject({ status: 'waiting', step: 'night' })
    expect(await given().advance(87_000_000).run()).toMatchObject({ status: 'waiting', step: 'year' })
    const awake = () => given().advance(366 * 86_400_000 + 1_000)
    expect(await awake().send(paid, '1', { amount: 7 }).run()).toMatchObject({ status: 'completed', result: 7 })
    expect(await awake().advance(61_000).run()).toMatchObject({ status: 'compensated' })
    expect(await given().cancel('why not').run()).toMatchObject({ status: 'cancelled', undone: ['charge', 'reserve'] })
  })

  test('gives transactional steps what they are to work with, and knows the names of the steps', async () => {
    const order = saga<null, { n: number }>('order')
      .txStep('a', (tx) => tx.n)
      .returns(({ results }) => results.a)

    expect(
      (
        await testSaga(order, { tx: { n: 5 } })
          .given(null)
          .run()
      ).result,
    ).toBe(5)
    expect(() => testSaga(order).fail('b')).toThrow("there is no step 'b', but a")
    expect(() => testSaga(order).fail('a', { times: 0 })).toThrow('times must be')
  })
})

describe('crashPoints', () => {
  const define = (effects: Map<string, number>, undo: boolean, ending: 'ok' | 'no') => {
    const apply = (key: string) => void effects.set(key.split(':')[1] as string, 1)
    const order = saga<{ id: string }>('order')
      .step('a', ({ key }) => apply(key), { compensate: () => void (undo && effects.delete('a')) })
      .sleep('pause', 1_000)
      .parallel((b) => ({
        b: b.step(({ key }) => apply(key), { compensate: () => void effects.delete('b') }),
        c: b.step(({ key }) => apply(key), { compensate: () => void effects.delete('c') }),
      }))
      .waitFor('event', eventType<number>('event'), { key: ({ input }) => input.id })
      .step(
        'd',
        ({ key }) => {
          if (ending === 'no') throw new StepRejectedError('no')
          apply(key)
        },
        { compensate: () => void effects.delete('d') },
      )
    return order.returns(() => 'done')
  }
  const world = (effects: Map<string, number>, ending: 'ok' | 'no') => () => {
    effects.clear()
    return {
      input: { id: '1' },
      events: [{ event: 'event', key: '1', payload: 1 }],
      check: ({ status }: { status: string }) => {
        expect(status).toBe(ending === 'ok' ? 'completed' : 'compensated')
        expect([...effects.keys()].sort()).toEqual(ending === 'ok' ? ['a', 'b', 'c', 'd'] : [])
      },
    }
  }

  test.each(['ok', 'no'] as const)('finds nothing wrong where all adds up: %s', { timeout: 60_000 }, async (ending) => {
    const effects = new Map<string, number>()

    const { points, failures } = await crashPoints(define(effects, true, ending), world(effects, ending))

    expect(failures).toEqual([])
    expect(points).toBeGreaterThan(20)
  })

  test('finds a compensation that does nothing', { timeout: 60_000 }, async () => {
    const effects = new Map<string, number>()

    await expect(crashPoints(define(effects, false, 'no'), world(effects, 'no'))).rejects.toThrow()
  })

  test('lets a transaction that is open at the death come to nothing', { timeout: 60_000 }, async () => {
    let written = 0
    const order = saga<null>('order')
      .txStep('write', () => void written++)
      .returns(() => null)

    const { failures } = await crashPoints(order, () => {
      written = 0
      return { input: null, check: () => expect(written).toBeGreaterThan(0) }
    })

    expect(failures).toEqual([])
  })

  test('finds an effect that is not idempotent', { timeout: 60_000 }, async () => {
    let charges = 0
    const order = saga<null>('order')
      .step('charge', () => void charges++)
      .returns(() => null)

    const { failures } = await crashPoints(order, () => {
      charges = 0
      return { input: null, check: () => expect(charges).toBe(1) }
    })

    expect(failures.map(({ point }) => point)).toContain('after effect 1')
  })
})
