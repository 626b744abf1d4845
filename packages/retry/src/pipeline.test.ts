import { describe, expect, it, vi } from 'vitest'
import { constant } from './backoff.js'
import { fallback } from './fallback.js'
import { VirtualClock } from './internal/virtual-clock.js'
import { pipeline } from './pipeline.js'
import type { ExecuteOptions, Operation, Policy, PolicyContext } from './policy.js'
import { retry } from './retry.js'
import { timeout } from './timeout.js'

/** A policy of somebody else, written to the shape alone. */
function tracing(name: string, trace: string[]): Policy {
  return {
    async execute<T>(operation: Operation<T>, options: ExecuteOptions = {}): Promise<T> {
      trace.push(`${name} in`)
      try {
        return await operation(options as PolicyContext)
      } finally {
        trace.push(`${name} out`)
      }
    },
  }
}

describe('pipeline', () => {
  it('runs the first policy outermost', async () => {
    const trace: string[] = []
    const policy = pipeline(tracing('a', trace), tracing('b', trace), tracing('c', trace))

    expect(await policy.execute(() => trace.push('operation'))).toBe(4)
    expect(trace).toEqual(['a in', 'b in', 'c in', 'operation', 'c out', 'b out', 'a out'])
  })

  it('of one policy is that policy', () => {
    const policy = retry()

    expect(pipeline(policy)).toBe(policy)
  })

  it('of no policies runs the operation, which gets a signal', async () => {
    const { signal } = new AbortController()

    expect(await pipeline().execute((context) => context.signal === signal, { signal })).toBe(true)
    expect(await pipeline().execute((context) => context.signal.aborted)).toBe(false)
    await expect(pipeline().execute(vi.fn(), { signal: AbortSignal.abort('no') })).rejects.toBe('no')
  })

  it('carries the attempt through inner policies', async () => {
    const seen: unknown[] = []
    const policy = pipeline(
      retry({ backoff: constant(0) }),
      timeout(1_000),
      fallback(() => undefined),
      timeout(500),
    )

    await policy.execute((context) => {
      seen.push((context as PolicyContext & { attempt?: number }).attempt)
    })

    expect(seen).toEqual([1])
  })

  it('gives the attempt of the innermost retry', async () => {
    const policy = pipeline(retry({ backoff: constant(0), attempts: 2 }), retry({ backoff: constant(0), attempts: 2 }))
    const seen: unknown[] = []

    await policy
      .execute((context) => {
        seen.push((context as PolicyContext & { attempt?: number }).attempt)
        throw new Error('boom')
      })
      .catch(() => {})

    expect(seen).toEqual([1, 2, 1, 2])
  })

  it('retries what an inner timeout ends, and gives up when an outer one ends', async () => {
    const clock = new VirtualClock()
    const policy = pipeline(
      timeout(250, { clock, name: 'total' }),
      retry({ backoff: constant(0), attempts: 10, clock }),
      timeout(100, { clock, name: 'attempt' }),
    )
    const signals: AbortSignal[] = []
    const call = policy
      .execute(({ signal }) => {
        signals.push(signal)
        return new Promise(() => {})
      })
      .catch((error: unknown) => error)

    await clock.advance(1_000)

    expect(await call).toMatchObject({ policy: 'total' })
    expect(signals.map((signal) => signal.reason.policy)).toEqual(['attempt', 'attempt', 'total'])
    expect(clock.pending).toBe(0)
  })

  it('makes no AbortController while nobody reads a signal', async () => {
    const made = vi.spyOn(globalThis, 'AbortController')
    const policy = pipeline(
      fallback(() => 0),
      timeout(1_000),
      retry(),
      timeout(500),
    )

    await policy.execute(async () => 1)

    expect(made).not.toHaveBeenCalled()
    made.mockRestore()
  })

  it('refuses what is no policy', () => {
    expect(() => pipeline(retry(), {} as never)).toThrow(/pipeline: each must be a policy, got an object/)
    expect(() => pipeline(undefined as never)).toThrow(TypeError)
  })
})
