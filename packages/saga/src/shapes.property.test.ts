import fc from 'fast-check'
import { expect, test } from 'vitest'
import { eventType, StepRejectedError, saga } from './index.js'
import { crashPoints } from './testing.js'

/*
 * Sagas of all shapes, each run once per moment at which its process can die, against the simplest model there is: when a
 * step before the pivot says no nothing is left, otherwise all is there. What comes after the pivot always succeeds.
 */
type Part =
  | { readonly kind: 'step' | 'txStep' | 'sleep' | 'wait' | 'late' | 'skipped' | 'pivot' }
  | { readonly kind: 'child'; readonly steps: number }
  | {
      readonly kind: 'parallel'
      readonly of: readonly ('step' | 'txStep' | 'child' | 'wait')[]
      readonly concurrency: number
    }

const part: fc.Arbitrary<Part> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ kind: fc.constantFrom('step', 'txStep', 'sleep', 'wait', 'late', 'skipped') }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('child'), steps: fc.integer({ min: 0, max: 2 }) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('parallel'),
      of: fc.array(fc.constantFrom('step', 'step', 'txStep', 'child', 'wait'), { minLength: 1, maxLength: 3 }),
      concurrency: fc.integer({ min: 1, max: 3 }),
    }),
  },
) as fc.Arbitrary<Part>

const scenario = fc.record({
  parts: fc.array(part, { minLength: 1, maxLength: 4 }),
  pivotAt: fc.option(fc.nat({ max: 3 })),
  /** The effect that says no, counted from the first. */
  refusing: fc.option(fc.nat({ max: 5 })),
})

const event = eventType<number>('event')

function define(given: typeof scenario extends fc.Arbitrary<infer T> ? T : never) {
  const effects = new Map<string, boolean>()
  const all: string[] = []
  let refused = false
  let committed = false

  const effect = (name: string) => {
    const mayRefuse = !committed
    const refuses = mayRefuse && all.length === given.refusing
    refused ||= refuses
    all.push(name)
    return {
      run: () => {
        if (refuses) throw new StepRejectedError(`${name} says no`)
        effects.set(name, true)
      },
      options: mayRefuse ? { compensate: () => void effects.delete(name) } : {},
    }
  }
  const child = (name: string, steps: number) => {
    // biome-ignore lint/suspicious/noExplicitAny: the chain is built from data
    let chain: any = saga<null>(`child-${name}`)
    for (let i = 0; i < steps; i++) {
      const { run, options } = effect(`${name}.${i}`)
      chain = chain.step(`x${i}`, run, options)
    }
    return chain.returns(() => name)
  }

  // biome-ignore lint/suspicious/noExplicitAny: the chain is built from data
  let chain: any = saga<null>('order')
  const events: { event: string; key: string; payload: number }[] = []
  for (const [i, { kind, ...more }] of given.parts.entries()) {
    const name = `s${i}`
    if (i === given.pivotAt) {
      const { run } = effect(`p${i}`)
      chain = chain.pivot(`p${i}`, run)
      committed = true
    }
    if (kind === 'step') {
      const { run, options } = effect(name)
      chain = chain.step(name, run, options)
    } else if (kind === 'txStep') {
      chain = chain.txStep(name, () => name)
    } else if (kind === 'sleep') {
      chain = chain.sleep(name, 1_000)
    } else if (kind === 'skipped') {
      chain = chain.when(() => false).step(name, () => effects.set('skipped', true))
    } else if (kind === 'wait') {
      events.push({ event: 'event', key: name, payload: i })
      chain = chain.waitFor(name, event, { key: () => name })
    } else if (kind === 'late') {
      chain = chain.waitFor(name, event, { key: () => 'never', timeout: 1_000, onTimeout: 'continue' })
    } else if (kind === 'child') {
      chain = chain.child(name, child(name, (more as { steps: number }).steps), () => null)
    } else {
      const { of, concurrency } = more as { of: string[]; concurrency: number }
      // biome-ignore lint/suspicious/noExplicitAny: the chain is built from data
      const branches = (b: any): Record<string, unknown> =>
        Object.fromEntries(
          of.map((what, j) => {
            const at = `${name}b${j}`
            if (what === 'txStep') return [at, b.txStep(() => at)]
            if (what === 'child') return [at, b.child(child(at, 1), () => null)]
            if (what === 'step') {
              const { run, options } = effect(at)
              return [at, b.step(run, options)]
            }
            events.push({ event: 'event', key: at, payload: j })
            return [at, b.waitFor(event, { key: () => at })]
          }),
        )
      chain = chain.parallel(branches, { concurrency })
    }
  }
  return { definition: chain.returns(() => 'end'), effects, events, expected: refused ? [] : [...all].sort(), refused }
}

test('sagas of all shapes add up, whenever their process dies', { timeout: 300_000 }, async () => {
  let points = 0

  await fc.assert(
    fc.asyncProperty(scenario, async (given) => {
      const { definition, effects, events, expected, refused } = define(given)

      const report = await crashPoints(definition, () => {
        effects.clear()
        return {
          input: null,
          events,
          check: ({ status }) => {
            expect(status).toBe(refused ? 'compensated' : 'completed')
            expect([...effects.keys()].sort()).toEqual(expected)
          },
        }
      })

      points += report.points
      expect(report.failures.map(({ point, error }) => `${point}: ${(error as Error).message}`)).toEqual([])
    }),
    { numRuns: Number(process.env['SAGA_SHAPES'] ?? 40) },
  )
  expect(points).toBeGreaterThan(100)
})
