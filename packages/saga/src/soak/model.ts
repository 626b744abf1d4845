import assert from 'node:assert/strict'
import fc from 'fast-check'
import { isSagaConflictError } from '../index.js'
import type { CancelAnswer, Resume } from '../intervene.js'
import type { Bench, Death } from './bench.js'
import { type Effect, happened, type Part } from './world.js'

/*
 * What a saga is expected to do, told without an engine: one list, walked forward and back. It knows nothing of workers, leases,
 * retries or crashes, because none of them may make a difference. Twice they do. When a cancel meets a saga whose worker has
 * died the model does not know how far that had come: then each end that keeps the books is right, and the model goes on from
 * it. And a pivot that fails says nothing of a request that an earlier worker may still send: after trouble it may be stuck.
 */
export interface Model {
  readonly parts: readonly Part[]
  readonly sagas: Expected[]
  /** Events that nobody took, by order and wait. */
  readonly mail: Map<string, number>
  /** Deaths and leaps: more would make a saga look like one that kills its workers. */
  troubles: number
}

interface Expected {
  readonly order: string
  readonly fates: ReadonlyMap<string, Effect>
  id: string
  at: number
  status: 'running' | 'waiting' | 'compensating' | 'completed' | 'compensated' | 'cancelled' | 'stuck' | 'abandoned'
  direction: 'forward' | 'backward'
  committed: boolean
  /** The sleep at which it is has begun. */
  asleep: boolean
  /** The step at which it is waits for its release. */
  readonly held: Set<string>
  /** Held steps that were called. */
  readonly begun: Set<string>
  /** Steps that were undone, and are not applied by a call of before either. */
  readonly undone: Set<string>
  cancelled: boolean
  repaired: boolean
  readonly applied: Set<string>
  /** What was applied when its pivot failed, which has not been seen since. */
  beforeTurn: readonly string[] | undefined
  /** Its pivot is in doubt. */
  doubtful: boolean
  /** It was cancelled where nobody knows how far it had come, and has not been seen since. */
  blurred: boolean
  /** Of such a one: whether the cancel came before a failure is not told. */
  unsure: boolean
}

const ENDS: ReadonlySet<string> = new Set(['completed', 'compensated', 'cancelled', 'abandoned'])
const isStep = ({ kind }: Part): boolean => kind === 'step' || kind === 'txStep'
const isPivot = ({ kind }: Part): boolean => kind === 'pivot' || kind === 'txPivot'

function fateOf(saga: Expected, { name }: Part): Effect['fate'] {
  const fate = saga.fates.get(name)?.fate ?? 'works'
  return fate === 'broken' && saga.repaired ? 'works' : fate
}

/** Goes on until it comes to rest. */
function walk(model: Model, saga: Expected): void {
  while (saga.direction === 'forward' && !ENDS.has(saga.status) && saga.status !== 'stuck') {
    const part = model.parts[saga.at]
    if (!part) {
      saga.status = 'completed'
      return
    }
    if (part.kind === 'wait') {
      const box = `${saga.order} ${part.name}`
      const letters = model.mail.get(box) ?? 0
      if (letters === 0) {
        saga.status = 'waiting'
        return
      }
      model.mail.set(box, letters - 1)
    } else if (part.kind === 'sleep') {
      saga.status = 'waiting'
      saga.asleep = true
      return
    } else {
      if (saga.held.has(part.name)) {
        saga.begun.add(part.name)
        saga.status = saga.cancelled ? 'compensating' : 'running'
        return
      }
      const fate = fateOf(saga, part)
      if (fate === 'refused' || fate === 'fails' || fate === 'broken' || fate === 'applied, then fails') {
        if (saga.committed || saga.doubtful) {
          saga.status = 'stuck'
          return
        }
        if (part.kind === 'pivot' && fate === 'fails') saga.beforeTurn = [...saga.applied]
        const doubtful = part.kind === 'step' && fate !== 'refused'
        if (part.kind === 'step' && fate === 'applied, then fails') saga.applied.add(part.name)
        unwind(model, saga, doubtful ? saga.at : saga.at - 1)
        return
      }
      saga.applied.add(part.name)
      saga.committed ||= isPivot(part)
      if (saga.cancelled) {
        unwind(model, saga, saga.at)
        return
      }
    }
    saga.status = 'running'
    saga.at++
  }
}

function unwind(model: Model, saga: Expected, from: number): void {
  saga.direction = 'backward'
  for (saga.at = from; saga.at >= 0; saga.at--) {
    const part = model.parts[saga.at] as Part
    const undone = isStep(part) && (saga.applied.has(part.name) || (saga.at === from && part.kind === 'step'))
    if (!undone) continue
    if (saga.fates.get(part.name)?.undo === 'broken' && !saga.repaired) {
      saga.status = 'stuck'
      return
    }
    saga.applied.delete(part.name)
    saga.undone.add(part.name)
  }
  saga.status = saga.cancelled ? 'cancelled' : 'compensated'
}

/** It has not turned round, as the pivot that failed is in doubt. */
function stayAtPivot(model: Model, saga: Expected, applied: readonly string[]): void {
  saga.status = 'stuck'
  saga.direction = 'forward'
  saga.doubtful = true
  saga.at = model.parts.findIndex(isPivot)
  for (const name of applied) {
    saga.applied.add(name)
    saga.undone.delete(name)
  }
}

/** What each saga is now, against what it is to be. */
async function compare(model: Model, bench: Bench): Promise<void> {
  await bench.witness.look({
    list: async () => model.sagas.map(({ id }) => ({ id })) as never,
    load: (id) => bench.row(id),
  })
  await bench.readTables()
  assert.deepEqual(bench.witness.problems, [])
  assert.deepEqual(bench.world.problems, [])
  if (!bench.isCalm) return

  for (const saga of model.sagas) {
    const view = await bench.operator.get(saga.id)
    const applied = bench.world.appliedOf(saga.order).sort()
    const said = `${saga.order}: ${await bench.operator.timeline(saga.id)}`
    if (saga.blurred) {
      const broken = model.parts.filter(({ name }) => saga.fates.get(name)?.undo === 'broken').map(({ name }) => name)
      const ends = ['cancelled', 'compensated', 'stuck', ...(saga.held.size > 0 ? ['compensating'] : [])]
      assert.ok(ends.includes(view?.status ?? ''), `${view?.status} after a cancel; ${said}`)
      if (view?.status === 'stuck') assert.ok(broken.includes(view.step ?? ''), said)
      else if (view?.status !== 'compensating') assert.deepEqual(applied, [], said)
      saga.blurred = view?.status === 'compensating'
      saga.status = view?.status as Expected['status']
      saga.unsure = true
      saga.direction = saga.blurred ? 'forward' : 'backward'
      saga.at = model.parts.findIndex(({ name }) => name === view?.step)
      saga.applied.clear()
      for (const name of applied) saga.applied.add(name)
      for (const { kind, name, outcome } of await bench.operator.history(saga.id))
        if (kind === 'undo' && outcome === 'ok') saga.undone.add(name)
      continue
    }
    if (saga.beforeTurn && view?.status === 'stuck' && view.step === model.parts.find(isPivot)?.name) {
      assert.ok(model.troubles > 0, said)
      stayAtPivot(model, saga, saga.beforeTurn)
    }
    saga.beforeTurn = undefined
    if (saga.unsure && view?.status === 'compensated' && saga.status === 'cancelled') saga.status = 'compensated'
    assert.equal(view?.status, saga.status, said)
    if (!ENDS.has(saga.status)) assert.equal(view?.step, model.parts[saga.at]?.name, said)
    assert.deepEqual(applied, [...saga.applied].sort(), said)
  }
}

type Act = (model: Model, bench: Bench) => Promise<void>

function command(text: string, act: Act, check: (model: Model) => boolean = () => true): fc.AsyncCommand<Model, Bench> {
  return {
    check,
    toString: () => text,
    async run(model, bench) {
      await act(model, bench)
      await bench.settle()
      await compare(model, bench)
    },
  }
}

const nth = (model: Model, n: number): Expected | undefined =>
  model.sagas.length === 0 ? undefined : model.sagas[n % model.sagas.length]

let orders = 0

function start(effects: readonly Effect[], held: number | undefined): fc.AsyncCommand<Model, Bench> {
  const fates = effects.filter(({ fate, undo }) => fate !== 'works' || undo !== 'works')
  return command(
    `start ${JSON.stringify(fates.map(({ name, fate, undo }) => [name, fate, undo]))}${held === undefined ? '' : `, holding s${held}`}`,
    async (model, bench) => {
      const order = `o${++orders}`
      const known = new Map(effects.map((effect) => [effect.name, effect]))
      bench.world.fate(order, effects)
      const at = model.parts[held ?? -1]
      // Which call is the first of a held step depends on who else holds one.
      const firstDiffers = ['flaky', 'answer lost'].includes(known.get(at?.name ?? '')?.fate ?? '')
      const isHeld = at !== undefined && (at.kind === 'step' || at.kind === 'pivot') && !firstDiffers
      if (isHeld) bench.hold(order, at.name)
      const input = { order }
      const saga: Expected = {
        order,
        fates: known,
        id: '',
        at: 0,
        status: 'running',
        direction: 'forward',
        committed: false,
        asleep: false,
        held: new Set(isHeld ? [at.name] : []),
        begun: new Set(),
        undone: new Set(),
        cancelled: false,
        repaired: false,
        applied: new Set(),
        beforeTurn: undefined,
        doubtful: false,
        blurred: false,
        unsure: false,
      }
      saga.id = (await bench.client.start(bench.definition, input, { key: order })).id
      const again = await bench.client.start(bench.definition, input, { key: order })
      assert.deepEqual([again.id, again.created], [saga.id, false])
      await assert.rejects(
        bench.client.start(bench.definition, { order: 'other' }, { key: order }),
        isSagaConflictError,
      )
      model.sagas.push(saga)
      walk(model, saga)
    },
    (model) => model.sagas.length < 4,
  )
}

function deliver(n: number, wait: number, twice: boolean): fc.AsyncCommand<Model, Bench> {
  return command(`deliver to saga ${n}, wait ${wait}${twice ? ', twice' : ''}`, async (model, bench) => {
    const saga = nth(model, n)
    const waits = model.parts.filter(({ kind }) => kind === 'wait')
    const part = waits[wait % Math.max(1, waits.length)]
    if (!saga || !part) return

    const box = `${saga.order} ${part.name}`
    const options = { messageId: crypto.randomUUID() }
    const waitsNow = saga.status === 'waiting' && model.parts[saga.at] === part
    const answer = await bench.client.send(happened, box, { order: saga.order }, options)
    if (bench.isCalm && !saga.blurred) assert.equal(answer, waitsNow ? 'delivered' : 'buffered')
    if (twice) assert.equal(await bench.client.send(happened, box, { order: saga.order }, options), 'duplicate')
    model.mail.set(box, (model.mail.get(box) ?? 0) + 1)
    if (waitsNow) walk(model, saga)
  })
}

function cancel(n: number): fc.AsyncCommand<Model, Bench> {
  return command(`cancel saga ${n}`, async (model, bench) => {
    const saga = nth(model, n)
    if (!saga || (!bench.isCalm && saga.held.size > 0)) return

    const part = model.parts[saga.at]
    const isRunning = saga.status === 'running'
    const refused = saga.committed || saga.doubtful || (isRunning && part !== undefined && isPivot(part))
    const expected: CancelAnswer = ENDS.has(saga.status)
      ? 'already-finished'
      : saga.direction === 'backward' || !refused
        ? 'compensating'
        : 'refused-after-pivot'
    const answer = await bench.operator.cancel(saga.id, { reason: 'r' })
    if (saga.blurred) return
    if (!bench.isCalm) {
      // How far it had come nobody knows. A cancel that was accepted too late has changed nothing.
      saga.blurred = answer === 'compensating'
      saga.cancelled ||= saga.blurred
      return
    }
    assert.equal(answer, expected)
    if (answer !== 'compensating' || saga.direction === 'backward') return
    saga.cancelled = true
    if (isRunning) saga.status = 'compensating'
    else if (saga.status === 'waiting') unwind(model, saga, saga.at - 1)
  })
}

function resume(
  n: number,
  what: Resume['do'],
  repairs: boolean,
  how: 'well' | 'stale' | 'elsewhere' | 'both',
): fc.AsyncCommand<Model, Bench> {
  return command(`resume saga ${n}: ${repairs ? 'repair, ' : ''}${what} ${how}`, async (model, bench) => {
    const saga = nth(model, n)
    if (!saga || !bench.isCalm || saga.blurred) return

    const view = await bench.operator.get(saga.id)
    const isStuck = saga.status === 'stuck'
    const forward = saga.direction === 'forward'
    const decision = {
      by: 'op',
      reason: 'r',
      rev: (view?.rev ?? 0) - (how === 'stale' ? 1 : 0),
      step: how === 'elsewhere' ? 'nowhere' : (view?.step ?? 'nowhere'),
      ...(what === 'complete' ? { do: what, result: 'by hand' } : { do: what }),
    } as Resume
    const mayUndo = forward && saga.doubtful && !saga.committed
    const refused = !isStuck || how === 'stale' || how === 'elsewhere' || (what === 'compensate' && !mayUndo)
    if (repairs && isStuck) {
      bench.world.repair(saga.order)
      saga.repaired = true
    }
    const asked = [bench.operator.resume(saga.id, decision)]
    if (how === 'both') asked.push(bench.client.resume(saga.id, decision))
    const answers = await Promise.allSettled(asked)
    const won = answers.filter(({ status }) => status === 'fulfilled').length
    for (const answer of answers)
      if (answer.status === 'rejected') assert.ok(isSagaConflictError(answer.reason), String(answer.reason))
    assert.equal(won, refused ? 0 : 1)
    if (refused) return

    const part = model.parts[saga.at] as Part
    if (what === 'abandon') saga.status = 'abandoned'
    else if (what === 'compensate') unwind(model, saga, saga.at - 1)
    else if (forward) {
      saga.status = 'running'
      // What an operator says of a pivot is as good as its answer.
      if (what !== 'retry') saga.committed ||= isPivot(part)
      if (what !== 'retry') saga.at++
      walk(model, saga)
    } else if (what === 'retry') unwind(model, saga, saga.at)
    else {
      const left = saga.applied.has(part.name)
      saga.applied.delete(part.name)
      unwind(model, saga, saga.at - 1)
      if (left) saga.applied.add(part.name)
    }
  })
}

/** Whoever had died is found out. */
async function recover(model: Model, bench: Bench): Promise<void> {
  const before = bench.isCalm
  await bench.bury()
  // A cancelled step that nobody waits for any more is in doubt; whose it was only the engine knows.
  if (!before) for (const saga of model.sagas) if (saga.status === 'compensating') saga.blurred = true
}

const recovering = command('recover', recover)

const leap = command(
  'an hour passes',
  async (model, bench) => {
    if (!bench.isCalm) await recover(model, bench)
    await bench.settle()
    await compare(model, bench)
    await bench.leap()
    // Even those who lived have lost their leases.
    for (const saga of model.sagas) {
      if (saga.blurred) continue
      if (saga.status === 'compensating') unwind(model, saga, saga.at)
      if (saga.status !== 'waiting' || !saga.asleep) continue
      saga.asleep = false
      saga.status = 'running'
      saga.at++
      walk(model, saga)
    }
    model.troubles++
  },
  ({ troubles }) => troubles < 7,
)

const hire = command('another worker', async (_, bench) => {
  if (bench.workers.filter(({ isDead }) => !isDead).length < 3) await bench.hire()
})

function kill(n: number, death: Death): fc.AsyncCommand<Model, Bench> {
  return command(
    `worker ${n} is to die ${death.side} ${death.at === 'store' ? 'call' : 'effect'} ${death.count}`,
    async (model, bench) => {
      const living = bench.workers.filter(({ isDead }) => !isDead)
      living[n % Math.max(1, living.length)]?.arm(death)
      model.troubles++
    },
    ({ troubles }) => troubles < 7,
  )
}

function release(n: number): fc.AsyncCommand<Model, Bench> {
  return command(`release saga ${n}`, async (model, bench) => {
    const saga = nth(model, n)
    if (!saga) return

    const at = model.parts[saga.at]
    const waits = !saga.blurred && (saga.status === 'running' || saga.status === 'compensating')
    for (const name of saga.held) {
      bench.release(saga.order, name)
      const goesOn = waits && at?.name === name
      // The saga is elsewhere by now, and the call of a worker that lost it has its effect all the same.
      const fate = saga.fates.get(name)?.fate ?? 'works'
      const applies = fate === 'works' || fate === 'applied, then fails'
      if (!goesOn && saga.begun.has(name) && !saga.undone.has(name) && applies) saga.applied.add(name)
    }
    const goesOn = waits && saga.held.has(at?.name ?? '')
    saga.held.clear()
    if (goesOn) walk(model, saga)
  })
}

/** When nothing goes wrong any more, and everybody does his part, every saga ends. */
export async function finishAll(model: Model, bench: Bench): Promise<void> {
  for (const [n] of model.sagas.entries()) await release(n).run(model, bench)
  await recovering.run(model, bench)
  for (let round = 0; round < model.parts.length + 2; round++) {
    for (const [n, saga] of model.sagas.entries()) {
      for (let wait = 0; saga.status === 'waiting' && model.parts[saga.at]?.kind === 'wait' && wait < 9; wait++)
        await deliver(n, wait, false).run(model, bench)
      const isHopeless = saga.doubtful && !saga.committed && saga.direction === 'forward'
      if (saga.status === 'stuck') await resume(n, isHopeless ? 'compensate' : 'retry', true, 'well').run(model, bench)
    }
    if (model.sagas.every(({ status }) => ENDS.has(status))) return
    await leap.run(model, bench)
    await recovering.run(model, bench)
  }
  assert.fail(`not all have ended: ${JSON.stringify(model.sagas.map(({ order, status, at }) => [order, status, at]))}`)
}

const kinds = fc.constantFrom<Part['kind']>('step', 'step', 'step', 'txStep', 'wait', 'sleep')

export const partsOf: fc.Arbitrary<Part[]> = fc
  .record({
    kinds: fc.array(kinds, { minLength: 1, maxLength: 5 }),
    pivot: fc.option(fc.nat({ max: 4 })),
    tx: fc.boolean(),
  })
  .map(({ kinds: given, pivot, tx }) =>
    given.map((kind, i) => ({ kind: i === pivot ? (tx ? 'txPivot' : 'pivot') : kind, name: `s${i}` }) as Part),
  )

const works = 'works' as const

/** The commands for a saga of these parts. */
export function commandsOf(
  parts: readonly Part[],
  maxCommands: number,
): fc.Arbitrary<Iterable<fc.AsyncCommand<Model, Bench>>> {
  const pivot = parts.findIndex(isPivot)
  const effects = fc.tuple(
    ...parts
      .map((part, i) => ({ part, i }))
      .filter(({ part }) => isStep(part) || isPivot(part))
      .map(({ part: { name, kind }, i }) => {
        const plain = kind === 'step'
        const forward = pivot >= 0 && i > pivot
        const fates: Effect['fate'][] = forward
          ? [works, works, 'flaky', 'broken', ...(plain ? (['answer lost'] as const) : [])]
          : [
              works,
              works,
              works,
              works,
              'flaky',
              'refused',
              'fails',
              ...(plain ? (['answer lost', 'applied, then fails'] as const) : []),
            ]
        return (
          fc
            .record({
              name: fc.constant(name),
              fate: fc.constantFrom(...fates),
              undo: fc.constantFrom<Effect['undo']>(works, works, 'flaky', 'broken'),
            })
            // Refused by the second worker that tried, a step is in doubt; by the first, it is not: a death would make a difference.
            .map((effect) =>
              effect.fate === 'refused' && effect.undo === 'broken' ? { ...effect, undo: works } : effect,
            )
        )
      }),
  )
  const n = fc.nat({ max: 3 })
  const death = fc.record({
    at: fc.constantFrom<Death['at']>('store', 'store', 'effect'),
    count: fc.integer({ min: 1, max: 6 }),
    side: fc.constantFrom<Death['side']>('before', 'after'),
  })
  return fc.commands(
    [
      fc.tuple(effects, fc.option(fc.nat({ max: 4 }), { nil: undefined })).map(([fates, held]) => start(fates, held)),
      fc.tuple(effects, fc.constant(undefined)).map(([fates, held]) => start(fates, held)),
      fc.tuple(n, n, fc.boolean()).map((args) => deliver(...args)),
      fc.tuple(n, n, fc.boolean()).map((args) => deliver(...args)),
      n.map(cancel),
      n.map(release),
      fc
        .tuple(
          n,
          fc.constantFrom<Resume['do']>('retry', 'retry', 'skip', 'complete', 'compensate', 'abandon'),
          fc.boolean(),
          fc.constantFrom('well' as const, 'well' as const, 'stale' as const, 'elsewhere' as const, 'both' as const),
        )
        .map((args) => resume(...args)),
      fc.constant(leap),
      fc.constant(hire),
      fc.constant(recovering),
      fc.tuple(n, death).map((args) => kill(...args)),
      fc.tuple(n, death).map((args) => kill(...args)),
    ],
    { maxCommands },
  )
}
