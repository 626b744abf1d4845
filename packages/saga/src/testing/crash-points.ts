import type { Definition } from '../definition.js'
import type { SagaView } from '../view.js'
import { mortal } from './mortal.js'
import { LEASE, Stage } from './stage.js'

/** One run of a saga, from its beginning, and what has to hold at its end. */
export interface World<I, Tx = unknown> {
  readonly input: I
  /** What transactional steps are given. Default: something whose `query` finds nothing. */
  readonly tx?: Tx | undefined
  /** Events that are there from the beginning. */
  readonly events?: readonly { readonly event: string; readonly key: string; readonly payload: unknown }[] | undefined
  /** Throws when the effects of the steps do not add up. */
  check(end: SagaView): void | Promise<void>
}

export interface CrashReport {
  /** How many runs there were, each with a death at another point. */
  readonly points: number
  /** Where a check threw, or the saga came to no end. */
  readonly failures: readonly { readonly point: string; readonly error: unknown }[]
}

type Death =
  | { readonly at: 'store'; readonly call: number; readonly side: 'before' | 'after' }
  | { readonly at: 'effect'; readonly call: number; readonly side: 'before' | 'after' }

/**
 * Runs a saga once for each moment at which its process can die: before and after each call to the store, and before and
 * after the effect of each step and compensation has happened, when nobody knows yet. Another process then finds what is
 * left and goes on. `world` is called for each run: it sets up what the steps work on, and `check` says whether it adds up. Rejects when not even the run without a death does.
 *
 * @example
 * const report = await crashPoints(checkout, () => {
 *   bank.reset()
 *   return { input: { orderId: '1' }, check: ({ status }) => assert.equal(bank.charges, status === 'completed' ? 1 : 0) }
 * })
 * assert.deepEqual(report.failures, [])
 */
export async function crashPoints<I, R, O, Tx>(
  definition: Definition<I, R, O, Tx>,
  world: () => World<I, Tx> | Promise<World<I, Tx>>,
): Promise<CrashReport> {
  const { calls, effects } = await live(definition, await world(), undefined)
  const deaths: Death[] = []
  for (const side of ['before', 'after'] as const) {
    for (let call = 1; call <= calls; call++) deaths.push({ at: 'store', call, side })
    for (let call = 1; call <= effects; call++) deaths.push({ at: 'effect', call, side })
  }

  const failures: { point: string; error: unknown }[] = []
  for (const death of deaths) {
    try {
      await live(definition, await world(), death)
    } catch (error) {
      failures.push({
        point: `${death.side} ${death.at === 'store' ? 'call to the store' : 'effect'} ${death.call}`,
        error,
      })
    }
  }
  return { points: deaths.length, failures }
}

async function live<I, R, O, Tx>(
  definition: Definition<I, R, O, Tx>,
  { input, tx, events = [], check }: World<I, Tx>,
  death: Death | undefined,
): Promise<{ calls: number; effects: number }> {
  let effects = 0
  let isDead = false
  const stage = new Stage(definition, tx, async (_step, _undo, work) => {
    const dies = !isDead && ++effects === (death?.at === 'effect' ? death.call : 0)
    if (dies && death?.side === 'before') return die()
    const answer = await work()
    return dies ? die() : answer
  })
  const doomed = mortal(stage.store, death?.at === 'store' ? death : undefined)
  // A transaction that is open by then comes to nothing: whoever was to commit it is dead.
  const die = (): never => {
    isDead = true
    doomed.kill()
    throw new Error('the process is dead')
  }
  void doomed.dead.then(() => {
    isDead = true
  })
  for (const { event, key, payload } of events)
    await stage.store.deliver({ event, key, messageId: undefined, payload: JSON.stringify(payload) })

  const first = stage.engine(doomed.store)
  const started = first.run().then(() => first.start(stage.definition, input as never, { key: 'crash' }))
  await Promise.race([started, doomed.dead])
  await stage.skip(() => !isDead)

  const second = stage.engine()
  await second.run()
  const { id } = await second.start(stage.definition, input as never, { key: 'crash' })
  // Until the dead are noticed.
  await stage.advance(2 * LEASE)
  await stage.skip(() => true)

  const end = (await second.get(id)) as SagaView
  if (!death) await first.close()
  await second.close()
  if (end.status === 'running' || end.status === 'compensating')
    throw new Error(`the saga came to no end:\n${await second.timeline(id)}`)
  await check(end)
  return { calls: doomed.calls(), effects }
}
