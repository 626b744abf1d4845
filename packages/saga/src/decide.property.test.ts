import fc from 'fast-check'
import { expect, test } from 'vitest'
import { decide, type Happening, next } from './decide.js'
import { NonRetryableError, StepRejectedError, StepTimeoutError } from './errors.js'
import type { Decision } from './moves.js'
import { type Plan, planStep, shapeOf } from './plan.js'
import { FRESH, isAtRest, mark, type State } from './state.js'
import type { NewRecord } from './store.js'

/*
 * A world in which everything may go wrong, and one rule at the end: a saga that was unwound has left nothing behind,
 * one that was completed has left everything, and what comes after the pivot is never taken back.
 */
const FATES = ['ok', 'no', 'no, but applied', 'rejected', 'final', 'timeout', 'crash', 'crash, but applied'] as const
type Fate = (typeof FATES)[number]

const scenario = fc.record({
  steps: fc.array(
    fc.record({
      compensates: fc.boolean(),
      transactional: fc.boolean(),
      skipped: fc.constantFrom(false, false, false, true),
    }),
    { minLength: 1, maxLength: 6 },
  ),
  pivot: fc.option(fc.nat({ max: 5 })),
  fates: fc.array(fc.constantFrom(...FATES, 'ok', 'ok'), { maxLength: 40 }),
  cancelAt: fc.option(fc.nat({ max: 12 })),
  attempts: fc.integer({ min: 1, max: 3 }),
})

type Scenario = typeof scenario extends fc.Arbitrary<infer T> ? T : never

function planOf({ steps, pivot, attempts }: Scenario): Plan {
  const planned = steps.map(({ compensates, transactional, skipped }, i) => {
    const beforePivot = pivot === null || i < pivot
    const step = planStep({
      name: `s${i}`,
      transactional,
      pivot: i === pivot,
      afterPivot: pivot !== null && i > pivot,
      run: () => i,
      options: { retry: { attempts }, ...(beforePivot && compensates && { compensate: () => undefined }) },
    })
    return skipped && i !== pivot ? { ...step, when: () => false } : step
  })
  return { name: 'p', version: 1, shape: shapeOf(planned), steps: planned, returns: () => 'end' }
}

function simulate(given: Scenario) {
  const plan = planOf(given)
  const fates = [...given.fates]
  const applied = new Set<string>()
  const everApplied: string[] = []
  const undone: string[] = []
  let takenBackAfterPivot = false
  let state: State = { id: 'id', input: undefined, progress: FRESH, marks: new Map(), begunBefore: false }
  let claims = 1
  let cancelled: string | undefined
  const records: NewRecord[] = []

  const write = (decision: Decision | undefined): void => {
    if (!decision) return
    if (decision.record) records.push(decision.record)
    const marks = decision.record ? mark(state.marks, decision.record, 0) : state.marks
    state = { ...state, progress: decision.progress, marks }
    claims = decision.retryIn === undefined ? 1 : 0
  }
  const tell = (happening: Happening): void =>
    write(decide(plan, { ...state, begunBefore: claims > 1 }, happening, () => 0.5))
  const claim = (): void => {
    claims++
    tell({ type: 'claimed', claims, overdue: false, shape: plan.shape })
  }
  const cancel = (): void => {
    const [before, owners] = [state.progress, claims]
    tell({ type: 'cancel', reason: 'r', mayBeRunning: claims > 0 })
    claims = owners
    if (state.progress !== before) cancelled = 'accepted'
  }
  const apply = (name: string): void => {
    if (!applied.has(name)) everApplied.push(name)
    applied.add(name)
  }

  let turns = 0
  for (; turns < 500 && !isAtRest(state.progress); turns++) {
    const [cancelComes, owned] = [turns === given.cancelAt, claims > 0]
    if (cancelComes && !owned) cancel()
    if (!owned) claim()

    const task = next(plan, state)
    if (task.type === 'rest' || task.type === 'group') break
    // What has begun already ends as it does; a cancel that comes meanwhile is seen when its end is written down.
    if (cancelComes && owned) cancel()
    if (task.type === 'finish') {
      tell({ type: 'finish' })
      continue
    }
    if (task.type === 'turn') {
      tell({ type: 'claimed', claims, overdue: false, shape: plan.shape })
      continue
    }

    const { name, transactional, pivot } = task.step
    if (task.step.when && task.type === 'do') {
      tell({ type: 'skipped', step: name })
      continue
    }
    if (transactional && task.type === 'do' && state.progress.cancel !== undefined) {
      // The transaction would begin with a rev that the cancel has changed: it looks again instead.
      tell({ type: 'claimed', claims, overdue: false, shape: plan.shape })
      continue
    }
    const fate: Fate = fates.shift() ?? 'ok'
    const secretly = fate.endsWith('but applied')
    // A transaction is never half done, and a pivot that throws has not happened: both are what the author promises.
    // He does not answer for an earlier owner, who was perhaps only stopped, and whose request comes later.
    const kept = transactional || (pivot && claims === 1 && fate === 'no, but applied')
    const honest = secretly && kept ? 'no' : fate
    // Nor does it say no under the key of an attempt that has happened; and nobody rejects an undo.
    const answered = pivot && applied.has(name) && ['no', 'rejected', 'final'].includes(honest)
    const truly = answered || (honest === 'rejected' && task.type === 'undo') ? 'ok' : honest
    const hidden = truly.endsWith('but applied')
    const act = (): void => {
      if (task.type === 'do') apply(name)
      else if (applied.delete(name)) {
        undone.push(name)
        takenBackAfterPivot ||= state.progress.committed
      }
    }

    if (truly === 'ok') {
      act()
      tell({ type: 'done', output: '1', took: 0 })
    } else if (truly.startsWith('crash')) {
      if (hidden) act()
      claim()
    } else {
      if (hidden) act()
      const error = {
        rejected: new StepRejectedError('no'),
        final: new NonRetryableError('no'),
        timeout: new StepTimeoutError(name, 1),
      }[truly as string]
      tell({ type: 'failed', error: error ?? new Error('no'), took: 0 })
    }
  }
  return { plan, state, applied, everApplied, undone, takenBackAfterPivot, cancelled, records, turns }
}

test('adds up, whatever fails, crashes or is cancelled', { timeout: 60_000 }, () => {
  fc.assert(
    fc.property(scenario, (given) => {
      const { plan, state, applied, everApplied, undone, takenBackAfterPivot, cancelled, records, turns } =
        simulate(given)
      const { status } = state.progress
      const pivot = plan.steps.find(({ pivot }) => pivot)
      const compensable = new Set(plan.steps.filter(({ compensate }) => compensate).map(({ name }) => name))

      expect(turns).toBeLessThan(500)
      expect(['completed', 'compensated', 'cancelled', 'stuck']).toContain(status)
      expect(takenBackAfterPivot).toBe(false)
      expect(undone).toEqual(everApplied.filter((name) => undone.includes(name)).reverse())

      const wanted = plan.steps.filter(({ when }) => when === undefined).map(({ name }) => name)
      if (status === 'completed') expect([...applied]).toEqual(wanted)
      if (status === 'compensated' || status === 'cancelled')
        expect([...applied].filter((name) => compensable.has(name) || name === pivot?.name)).toEqual([])
      if (status === 'completed') expect(cancelled).toBeUndefined()
      if (status === 'cancelled') expect(cancelled).toBe('accepted')

      const undos = records.filter(({ kind, outcome }) => kind === 'undo' && outcome === 'ok').map(({ name }) => name)
      expect(new Set(undos).size).toBe(undos.length)
    }),
    { numRuns: 3_000 },
  )
})

test('comes to the same state from its records as from its steps', () => {
  fc.assert(
    fc.property(scenario, (given) => {
      const { state, records } = simulate(given)

      const read = records.reduce<State['marks']>((marks, record) => mark(marks, record, 0), new Map())

      expect(read).toEqual(state.marks)
    }),
  )
})
