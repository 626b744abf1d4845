import { describe, expect, it } from 'vitest'
import { createFaults, delayed, faultRequest } from './faults.js'

const effect = (seen: number, delayed: number, failed: number, dropped: number) => ({ seen, delayed, failed, dropped })

describe('a fault', () => {
  it('strikes on its route only, and counts what it did', () => {
    const faults = createFaults('orders')
    faults.set({ id: 'f', route: 'GET /orders/:id', latency: 20, errors: 1 })

    expect(faults.strike('GET /orders/7')).toEqual({ latency: 20, then: 'fail' })
    expect(faults.strike('POST /orders/7')).toEqual({ latency: 0, then: 'go-on' })
    expect(faults.strike('GET /orders/7/saga')).toEqual({ latency: 0, then: 'go-on' })
    expect(faults.list()).toEqual([
      { id: 'f', service: 'orders', route: 'GET /orders/:id', latency: 20, errors: 1, effect: effect(1, 1, 1, 0) },
    ])
  })

  it.each([
    ['*', 'GET /anything', true],
    ['*', 'Authorize', true],
    ['/orders', 'GET /orders', true],
    ['/orders', 'PUT /orders', true],
    ['/orders', 'GET /orders/1', false],
    ['/a.b/:id', 'GET /axb/1', false],
    ['Authorize', 'Authorize', true],
    ['Authorize', 'Void', false],
    ['order.created', 'order.created', true],
    ['order.created', 'order.cancelled', false],
  ])('on %s: %s is hit: %s', (route, request, hit) => {
    const faults = createFaults('orders')
    faults.set({ route, drop: 1 })

    expect(faults.strike(request).then).toBe(hit ? 'drop' : 'go-on')
  })

  it('strikes as often as its share says', () => {
    const drawn = [0.1, 0.6, 0.2, 0.9]
    const faults = createFaults('orders', () => drawn.shift() ?? 1)
    faults.set({ route: '*', errors: 0.5 })

    expect([1, 2, 3, 4].map(() => faults.strike('GET /').then)).toEqual(['fail', 'go-on', 'fail', 'go-on'])
    expect(faults.list()[0]?.effect).toEqual(effect(4, 0, 2, 0))
  })

  it('takes the place of the one on the same route, and all of them stop at once', () => {
    const faults = createFaults('orders')
    faults.set({ route: '/a', errors: 1 })
    faults.strike('GET /a')
    faults.set({ route: '/a', latency: 5 })
    faults.set({ route: '/b', drop: 1 })
    expect(faults.list().map((fault) => [fault.route, fault.effect.seen])).toEqual([
      ['/a', 0],
      ['/b', 0],
    ])

    faults.clear(faults.list()[0]?.id)
    expect(faults.list().map(({ route }) => route)).toEqual(['/b'])
    faults.clear()
    expect(faults.strike('GET /b').then).toBe('go-on')
  })

  it('that was dropped, or whose place another one took, does not come back by whoever has not heard of it', () => {
    const faults = createFaults('orders')
    faults.set({ id: 'first', route: '/a', errors: 1 })
    faults.set({ id: 'second', route: '/a', errors: 1 })
    faults.set({ id: 'third', route: '/b', errors: 1 })
    faults.clear('third')

    expect(['first', 'second', 'third'].map((id) => faults.set({ id, route: '/c', errors: 1 }))).toEqual([
      false,
      true,
      false,
    ])
  })

  it('delays nobody who has stopped waiting, and says why in the words of the signal', async () => {
    const gone = new AbortController()
    const wait = delayed({ latency: 60_000, then: 'go-on' }, gone.signal)
    const reason = new Error('gone')
    gone.abort(reason)

    await expect(wait).rejects.toBe(reason)
  })

  it.each([
    [{ service: 'x' }],
    [{ service: 'x', kill: false }],
    [{ service: 'x', errors: 1.1 }],
    [{ service: 'x', latency: -1 }],
    [{ service: '', latency: 1 }],
    [{ service: 'x', latency: 1, more: true }],
  ])('that makes no sense is refused: %j', (request) => {
    expect(faultRequest.safeParse(request).success).toBe(false)
  })
})
