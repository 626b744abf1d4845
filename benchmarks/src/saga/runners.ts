import { DBOS } from '@dbos-inc/dbos-sdk'
import { createSagaEngine, memoryStore, type Store, saga } from '@msx/saga'
import { postgresStore, type Queryable } from '@msx/saga/postgres'
import type { Connections, Place } from './place.js'

/** Something that runs sagas. */
export interface Runner {
  readonly name: string
  /** One saga to its end, and its result. */
  run(input: Input): Promise<unknown>
  /** Statements that it has sent to a database so far. */
  sent(): number
  close(): Promise<void>
}

export interface Input {
  readonly order: string
  readonly amount: number
}

/** What every step does: nothing, and answers as much as a step does. */
export interface Answer {
  readonly ok: true
  readonly step: number
}

const FOUR = ['reserve', 'charge', 'confirm', 'ship'] as const

export type Style = 'async' | 'sync'

/** A saga of so many steps that do nothing. */
export function sagaOf(name: string, steps: readonly string[], style: Style = 'async') {
  let chain = saga<Input>(name)
  for (const [step, title] of steps.entries()) {
    const answer: Answer = { ok: true, step }
    const run = style === 'async' ? async () => answer : () => answer
    // Each step adds to the type of the results, which a loop cannot tell.
    chain = chain.step(title, run) as unknown as typeof chain
  }
  return chain.returns(() => steps.length)
}

export const stepsOf = (count: number): readonly string[] =>
  count === FOUR.length ? FOUR : Array.from({ length: count }, (_, index) => `step-${index}`)

/** `concurrency` is above what the benchmarks keep in flight, so that none waits for a place. */
async function engineOn(
  name: string,
  store: Store<Queryable>,
  steps: readonly string[],
  style: Style,
  sent: Runner['sent'] = () => 0,
): Promise<Runner> {
  const definition = sagaOf('bench', steps, style)
  const engine = createSagaEngine({ store, sagas: [definition], concurrency: 1_000 })
  await engine.run()
  return {
    name,
    run: async (input) => (await engine.start(definition, input)).result(),
    sent,
    close: () => engine.close(),
  }
}

export function msxInMemory(steps: readonly string[] = FOUR, style: Style = 'async'): Promise<Runner> {
  return engineOn(`@msx/saga, ${style} steps`, memoryStore(), steps, style)
}

export async function msx(
  { pool, sent }: Connections,
  steps: readonly string[] = FOUR,
  schema?: string,
): Promise<Runner> {
  const store = postgresStore({ pool, schema })
  await store.migrate()
  return engineOn('@msx/saga', store, steps, 'async', sent)
}

/**
 * A workflow with one `runStep` for each step, called as a function, which is how its guide begins. It has as many connections as
 * the other. Once in a process: DBOS is a singleton.
 */
export async function dbos({ connections, url }: Place, steps: readonly string[] = FOUR): Promise<Runner> {
  const workflow = DBOS.registerWorkflow(
    async (_input: Input) => {
      for (const [step, name] of steps.entries())
        await DBOS.runStep(async (): Promise<Answer> => ({ ok: true, step }), { name })
      return steps.length
    },
    { name: 'bench' },
  )
  const { pool, sent } = connections()
  DBOS.setConfig({
    name: 'msx-bench',
    applicationVersion: '1',
    systemDatabaseUrl: url,
    systemDatabasePool: pool,
    logLevel: 'error',
  })
  await DBOS.launch()
  return { name: '@dbos-inc/dbos-sdk', run: (input) => workflow(input), sent, close: () => DBOS.shutdown() }
}
