import client, { type Registry } from 'prom-client'
import type { Dispatcher } from 'undici'
import { expectTypeOf, test } from 'vitest'
import {
  type AdaptiveThrottle,
  adaptiveThrottle,
  type Bulkhead,
  bulkhead,
  type CircuitBreaker,
  type CircuitOpenError,
  type CircuitRegistry,
  type CircuitState,
  circuitBreaker,
  circuitRegistry,
  isCircuitOpenError,
  type Operation,
  type Policy,
  type PolicyContext,
} from './index.js'
import { type PrometheusClient, prometheus } from './prometheus.js'
import { circuitBreakerInterceptor } from './undici.js'

const breaker = circuitBreaker()

test('execute answers what the operation answers', () => {
  expectTypeOf(breaker.execute(() => 1)).toEqualTypeOf<Promise<number>>()
  expectTypeOf(breaker.execute(async () => 'a')).toEqualTypeOf<Promise<string>>()
  expectTypeOf(breaker.execute(({ signal }) => fetch('http://x', { signal }))).toEqualTypeOf<Promise<Response>>()
})

test('breakers and bulkheads are policies', () => {
  expectTypeOf<CircuitBreaker>().toExtend<Policy>()
  expectTypeOf<Bulkhead>().toExtend<Policy>()
  expectTypeOf(bulkhead({ concurrency: 1 }).execute(() => 1)).toEqualTypeOf<Promise<number>>()
})

test('a context of another policy is a valid set of options', () => {
  expectTypeOf<PolicyContext & { readonly attempt: number }>().toExtend<Parameters<CircuitBreaker['execute']>[1]>()
  expectTypeOf<Operation<number>>().parameter(0).toEqualTypeOf<PolicyContext>()
})

test('wrap keeps overloads and generics of async functions', () => {
  function load(id: number): Promise<number>
  function load(id: string): Promise<string>
  function load(id: number | string): Promise<number | string> {
    return Promise.resolve(id)
  }
  const echo = async <T>(value: T): Promise<T> => value

  expectTypeOf(breaker.wrap(load)).toEqualTypeOf<typeof load>()
  expectTypeOf(breaker.wrap(echo)<'a'>).toEqualTypeOf<(value: 'a') => Promise<'a'>>()
})

test('wrap makes sync functions answer with a promise', () => {
  expectTypeOf(breaker.wrap((a: number, b: string) => `${a}${b}`)).toEqualTypeOf<
    (a: number, b: string) => Promise<string>
  >()
})

test('protect makes every method async and leaves the rest as it is', () => {
  const client = breaker.protect({ size: (of: string) => of.length, load: async (id: string) => ({ id }), limit: 5 })

  expectTypeOf(client.size).toEqualTypeOf<(of: string) => Promise<number>>()
  expectTypeOf(client.load).toEqualTypeOf<(id: string) => Promise<{ id: string }>>()
  expectTypeOf(client.limit).toEqualTypeOf<number>()
})

test('events are typed by name', () => {
  breaker.on('transition', (event) => expectTypeOf(event.to).toEqualTypeOf<CircuitState>())
  breaker.on('reject', (event) => expectTypeOf(event.retryAfter).toEqualTypeOf<number>())
  // @ts-expect-error: there is no such event
  breaker.on('opened', () => {})
})

test('the guard narrows', () => {
  const error: unknown = undefined
  if (isCircuitOpenError(error)) {
    expectTypeOf(error).toEqualTypeOf<CircuitOpenError>()
    expectTypeOf(error.code).toEqualTypeOf<'MSX_CIRCUIT_OPEN'>()
  }
})

test('options that cannot work do not compile', () => {
  circuitBreaker({
    trip: { failures: 5 },
    name: undefined,
    classify: undefined,
    retryAfter: undefined,
    random: undefined,
  })
  circuitBreaker({ classify: ({ ok }) => (ok ? 'success' : 'ignore') })
  // @ts-expect-error: a rate needs a window
  circuitBreaker({ trip: { failureRate: 0.5 } })
  // @ts-expect-error: no such verdict
  circuitBreaker({ classify: () => 'fine' })
  // @ts-expect-error: concurrency has no default
  bulkhead({})
  // @ts-expect-error: a registry makes circuits
  circuitRegistry(() => ({}))
})

test('a hold can be used with using', () => {
  expectTypeOf(breaker.isolate()).toExtend<Disposable>()
})

test('a throttle is a policy, and a bulkhead takes no other word for a number', () => {
  expectTypeOf(adaptiveThrottle()).toExtend<Policy>()
  expectTypeOf(adaptiveThrottle().execute(() => Promise.resolve(1))).toEqualTypeOf<Promise<number>>()
  expectTypeOf(bulkhead({ concurrency: 'adaptive' })).toEqualTypeOf<Bulkhead>()

  // @ts-expect-error the only word is 'adaptive'
  bulkhead({ concurrency: 'elastic' })
})

test('the interceptor and the metrics fit the libraries they are for', () => {
  expectTypeOf(circuitBreakerInterceptor()).toExtend<Dispatcher.DispatcherComposeInterceptor>()
  expectTypeOf<typeof client>().toExtend<PrometheusClient<Registry>>()
  expectTypeOf(prometheus({ client, registry: client.register }).add)
    .parameter(0)
    .toEqualTypeOf<CircuitBreaker | CircuitRegistry | Bulkhead | AdaptiveThrottle>()
})
