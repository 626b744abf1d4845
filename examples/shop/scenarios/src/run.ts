import { setTimeout as sleep } from 'node:timers/promises'
import { judge, type Seen, type Verdict } from './judge.js'
import type { Expectation, Scenario } from './scenario.js'
import { type ShopAddress, type Visitor, visit } from './visit.js'

export interface Report {
  readonly scenario: Scenario
  readonly meanwhile: readonly Verdict[]
  readonly afterwards: readonly Verdict[]
  /** Whether everything that was expected was seen. */
  readonly holds: boolean
}

/** How long one phase is waited for, in milliseconds. */
const patience = 30_000

/** Between two looks. */
const interval = 100

/**
 * Runs a scenario on a shop that is well and that nobody else breaks meanwhile, over HTTP alone. Rejects when the shop
 * cannot be used at all; that it behaved otherwise than expected is in the report.
 */
export async function runScenario(scenario: Scenario, shop: ShopAddress): Promise<Report> {
  const visitor = await visit(shop)
  try {
    for (const fault of scenario.faults) await visitor.break(fault)
    let loaded = false
    const loading = load(scenario, visitor).finally(() => {
      loaded = true
    })
    // It may fail while one looks, before it is waited for.
    loading.catch(() => {})
    // What is seen early belongs to it: a breaker may be open for no longer than the load takes.
    const meanwhile = await awaited(
      scenario.meanwhile,
      () => visitor.look(scenario.meanwhile),
      () => loaded,
    )
    await loading

    await visitor.mend()
    if (scenario.replay !== undefined) await visitor.replay(scenario.replay)
    const recovery = scenario.afterwards.find((expectation) => expectation.see === 'recovery')
    const afterwards = await awaited(scenario.afterwards, async () => {
      if (recovery !== undefined) await visitor.tryAgain(recovery.of)
      return visitor.look(scenario.afterwards)
    })

    return { scenario, meanwhile, afterwards, holds: [...meanwhile, ...afterwards].every(({ holds }) => holds) }
  } finally {
    await visitor.mend()
  }
}

async function load({ load: wanted, strike }: Scenario, visitor: Visitor): Promise<void> {
  await visitor.load(wanted)
  if (strike !== undefined) await visitor.break(strike)
}

/** Looks until all of it holds and nothing more is to come, or the time is up. */
async function awaited(
  expectations: readonly Expectation[],
  look: () => Promise<Seen>,
  complete = () => true,
): Promise<Verdict[]> {
  const deadline = performance.now() + patience
  for (;;) {
    const last = complete()
    const seen = await look()
    const verdicts = expectations.map((expectation) => judge(expectation, seen))
    const over = performance.now() > deadline
    if (last && (over || verdicts.every(({ holds }) => holds))) return verdicts
    await sleep(interval)
  }
}
