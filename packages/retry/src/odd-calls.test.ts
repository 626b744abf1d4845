import { describe, expect, it } from 'vitest'
import { constant, fallback, hedge, pipeline, retry, timeout } from './index.js'

const policies = {
  retry: () => retry({ attempts: 2, backoff: constant(0) }),
  timeout: () => timeout(1_000),
  hedge: () => hedge({ delay: 1_000 }),
  fallback: () => fallback(() => 'instead'),
  'an empty pipeline': () => pipeline(),
}

describe.each(Object.entries(policies))('%s', (name, create) => {
  it('takes null for no options, as untyped callers give it', async () => {
    expect(await create().execute(() => 1, null as never)).toBe(1)
  })

  it('makes a rejection of what the `then` of a promise throws', async () => {
    const mistake = new Error('no then today')
    const odd = () =>
      Object.assign(Promise.resolve(1), {
        then() {
          throw mistake
        },
      })

    const called = create().execute(odd)

    if (name === 'fallback') expect(await called).toBe('instead')
    else await expect(called).rejects.toBe(mistake)
  })
})
