import { describe, expect, it, vi } from 'vitest'
import { constant } from '../backoff.js'
import { fallback } from '../fallback.js'
import { pipeline } from '../pipeline.js'
import type { ExecuteOptions, Policy } from '../policy.js'
import { retry } from '../retry.js'
import { timeout } from '../timeout.js'

const brand = Symbol.for('msx.context')

/** The context of a policy of another package. */
function foreignContext(fields: object = {}) {
  const made = vi.fn(() => new AbortController().signal)
  const context = {
    [brand]: true,
    aborted: false,
    reason: undefined,
    get signal() {
      return made()
    },
    ...fields,
  }

  return { context: context as ExecuteOptions, made }
}

const policies: readonly (readonly [string, Policy<unknown>])[] = [
  ['retry', retry({ backoff: constant(1) })],
  ['timeout', timeout(1_000)],
  ['fallback', fallback(() => 'instead')],
  ['an empty pipeline', pipeline()],
]

describe.each(policies)('the context of %s', (_, policy) => {
  it('is branded, and says without a controller whether the caller aborted', async () => {
    const caller = new AbortController()
    const seen: unknown[] = []

    await policy
      .execute(
        (context) => {
          const branded = context as unknown as { [brand]: unknown; aborted: boolean; reason: unknown }
          seen.push(branded[brand], branded.aborted)
          caller.abort('enough')
          seen.push(branded.aborted, branded.reason)
        },
        { signal: caller.signal },
      )
      .catch(() => {})

    expect(seen).toEqual([true, false, true, 'enough'])
  })

  it('gives one signal, however often it is read', async () => {
    const [first, second] = (await policy.execute((context) => [context.signal, context.signal])) as AbortSignal[]

    expect(first).toBe(second)
  })

  it('carries on the further fields of an outer one', async () => {
    const { context } = foreignContext({ attempt: 4, tenant: 'a' })
    const seen = await policy.execute((inner) => ({ ...(inner as object) }), context)

    expect(seen).toMatchObject(policy === policies[0]?.[1] ? { attempt: 1, tenant: 'a' } : { attempt: 4, tenant: 'a' })
  })

  it('does not read the signal of an outer one until its operation does', async () => {
    const { context, made } = foreignContext()

    await policy.execute(async () => 1, context)
    expect(made).not.toHaveBeenCalled()

    await policy.execute(({ signal }) => signal.aborted, context)
    expect(made).toHaveBeenCalled()
  })

  it('of an outer one that has aborted: rejects with its reason and calls nothing', async () => {
    const { context, made } = foreignContext({ aborted: true, reason: 'enough' })
    const operation = vi.fn()

    await expect(policy.execute(operation, context)).rejects.toBe('enough')
    expect(operation).not.toHaveBeenCalled()
    expect(made).not.toHaveBeenCalled()
  })
})

it('a retry reads the signal of an outer context when it begins to wait', async () => {
  const { context, made } = foreignContext()

  await retry({ backoff: constant(1), attempts: 2 })
    .execute(() => Promise.reject(new Error('boom')), context)
    .catch(() => {})

  expect(made).toHaveBeenCalledTimes(1)
})
