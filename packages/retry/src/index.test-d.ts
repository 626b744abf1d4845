import { describe, expectTypeOf, it } from 'vitest'
import {
  type Backoff,
  exponential,
  type FallbackOf,
  fallback,
  type Operation,
  type Policy,
  type PolicyContext,
  pipeline,
  type RetryContext,
  resilientFetch,
  retry,
  retryAfterOf,
  retryWithBackoff,
  timeout,
  withTimeout,
  wrap,
} from './index.js'

/** A policy of another package, which does not know of fallbacks. */
declare const breaker: { execute<T>(operation: Operation<T>, options?: { signal?: AbortSignal }): Promise<T> }

describe('execute', () => {
  it('resolves with what the operation does', () => {
    expectTypeOf(retry().execute(() => 1)).toEqualTypeOf<Promise<number>>()
    expectTypeOf(timeout(1).execute(async () => 'x')).toEqualTypeOf<Promise<string>>()
  })

  it('adds what a fallback answers', () => {
    expectTypeOf(fallback(() => null).execute(() => 1)).toEqualTypeOf<Promise<number | null>>()
    expectTypeOf(fallback(async () => 'x' as const).execute(() => 1)).toEqualTypeOf<Promise<number | 'x'>>()
  })

  it('gives a retried operation its attempt, and others none', () => {
    void retry().execute((context) => {
      expectTypeOf(context).toEqualTypeOf<RetryContext>()
      expectTypeOf(context.attempt).toBeNumber()
    })
    void timeout(1).execute((context) => {
      expectTypeOf(context).toEqualTypeOf<PolicyContext>()
      // @ts-expect-error only a retry counts attempts
      void context.attempt
    })
  })

  it('takes the context of an outer policy as options', () => {
    void retry().execute((context) => timeout(1).execute(() => 1, context))
  })
})

describe('pipeline', () => {
  it('of policies without fallback resolves with what the operation does', () => {
    const policy = pipeline(timeout(1), retry(), breaker)

    expectTypeOf(policy).toEqualTypeOf<Policy<never>>()
    expectTypeOf(policy.execute(() => 1)).toEqualTypeOf<Promise<number>>()
  })

  it('keeps the fallbacks of all its policies, inner ones too', () => {
    const policy = pipeline(
      fallback(() => null),
      retry(),
      fallback(() => 'inner' as const),
      breaker,
    )

    expectTypeOf(policy.execute(() => 1)).toEqualTypeOf<Promise<number | null | 'inner'>>()
    expectTypeOf(pipeline(timeout(1), policy).execute(() => 1)).toEqualTypeOf<Promise<number | null | 'inner'>>()
  })

  it('of nothing is a policy', () => {
    expectTypeOf(pipeline()).toEqualTypeOf<Policy<never>>()
  })

  it('takes policies only', () => {
    // @ts-expect-error a back-off is no policy
    pipeline(exponential())
  })

  it('has a type for what a policy may answer instead', () => {
    expectTypeOf<FallbackOf<Policy<string>>>().toEqualTypeOf<string>()
    expectTypeOf<FallbackOf<typeof breaker>>().toEqualTypeOf<never>()
  })
})

describe('wrap', () => {
  it('keeps generics and overloads of what returns a promise', () => {
    const generic = async <T>(value: T): Promise<T[]> => [value]
    expectTypeOf(wrap(generic, retry())('x')).toEqualTypeOf<Promise<string[]>>()

    function find(id: string): Promise<string>
    function find(id: number): Promise<number>
    async function find(id: string | number): Promise<string | number> {
      return id
    }
    expectTypeOf(wrap(find, retry())('a')).toEqualTypeOf<Promise<string>>()
    expectTypeOf(wrap(find, retry())(1)).toEqualTypeOf<Promise<number>>()
  })

  it('makes a promise of what a plain function returns, and adds the fallback', () => {
    const length = (text: string): number => text.length

    expectTypeOf(wrap(length, retry())).toEqualTypeOf<(text: string) => Promise<number>>()
    expectTypeOf(
      wrap(
        length,
        fallback(() => null),
      )('x'),
    ).toEqualTypeOf<Promise<number | null>>()
    expectTypeOf(
      wrap(
        async () => 1,
        fallback(() => null),
      )(),
    ).toEqualTypeOf<Promise<number | null>>()
  })
})

describe('resilientFetch', () => {
  it('has the type of the fetch it is given', () => {
    expectTypeOf(resilientFetch(retry())).toEqualTypeOf<typeof fetch>()
    expectTypeOf(resilientFetch(retry(), { retryOn: [500] })).toEqualTypeOf<typeof fetch>()

    interface OwnResponse {
      readonly status: number
      readonly headers: { get(name: string): string | null }
      readonly body: unknown
      readonly own: true
    }
    const own = async (_url: URL, _init?: { trace: string }): Promise<OwnResponse> => ({}) as OwnResponse
    expectTypeOf(resilientFetch(retry(), { fetch: own })).toEqualTypeOf<typeof own>()
    expectTypeOf(resilientFetch(pipeline(retry(), timeout(1)), { fetch: own })).toEqualTypeOf<typeof own>()
  })

  it('refuses a fallback that is no response', () => {
    resilientFetch(fallback(() => new Response()))
    // @ts-expect-error the caller of a fetch expects a response
    resilientFetch(fallback(() => 'instead'))
  })
})

describe('the rest', () => {
  it('one-shot forms', () => {
    expectTypeOf(withTimeout(Promise.resolve(1))).toEqualTypeOf<Promise<number>>()
    expectTypeOf(withTimeout(({ signal }) => signal.aborted, 1)).toEqualTypeOf<Promise<boolean>>()
    expectTypeOf(retryWithBackoff(async ({ attempt }) => attempt)).toEqualTypeOf<Promise<number>>()
  })

  it('back-offs, headers and events', () => {
    expectTypeOf(exponential()).toEqualTypeOf<Backoff>()
    expectTypeOf(retryAfterOf(new Response())).toEqualTypeOf<number | undefined>()
    expectTypeOf(retryAfterOf(new Headers())).toEqualTypeOf<number | undefined>()
    retry().on('retry', (event) => expectTypeOf(event.delay).toBeNumber())
    // @ts-expect-error there is no such event
    retry().on('sucess', () => {})
  })
})
