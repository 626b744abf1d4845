import { afterAll, describe, expect, test } from 'vitest'
import {
  createSagaEngine,
  eventType,
  memoryStore,
  NonRetryableError,
  type Queryable,
  type SagaEngine,
  StepRejectedError,
  type Store,
  saga,
} from './index.js'
import { virtualClock } from './testing/clock.js'
import { pgliteDatabase, postgresDatabase, type TestDatabase } from './testing/databases.js'
import { type Death, mortal } from './testing/mortal.js'

/*
 * A process dies before or after each of its calls to the store, one run per call, and then its successor does too, one run per
 * pair of calls; another engine finds what is left and finishes it. Whatever the moment, effects and their undoing must add up.
 */
const ENDINGS = ['success', 'refusal', 'failure'] as const
type Ending = (typeof ENDINGS)[number]
const LEASE = { ttl: 60_000 }
const go = eventType<string>('go')

interface Ledger {
  readonly applied: Set<string>
  readonly undone: string[]
  /** How often the pivot was tried. */
  pivots: number
}

/** Five steps: an effect, a transaction, a wait, the pivot (or what ends in its place), and one more after a timer. */
function definitionFor(name: string, ending: Ending, ledger: Ledger, table: string) {
  const apply = (key: string): string => {
    ledger.applied.add(key)
    return key
  }
  const write = (tx: Queryable, id: string, times: number) =>
    tx.query(`INSERT INTO ${table} VALUES ($1, $2)`, [id, times]).then(() => undefined)

  return saga<null>(name)
    .step('a', ({ key }) => apply(key), {
      compensate: ({ forwardKey }) => {
        if (ledger.applied.delete(forwardKey)) ledger.undone.push(forwardKey)
      },
    })
    .txStep('b', (tx, { sagaId }) => write(tx, sagaId, 1), { compensate: (tx, { sagaId }) => write(tx, sagaId, -1) })
    .waitFor('c', go, { key: ({ sagaId }) => sagaId })
    .pivot('d', ({ key }) => {
      ledger.pivots++
      if (ending === 'refusal') throw new StepRejectedError('no')
      if (ending === 'failure') throw new NonRetryableError('no')
      return apply(key)
    })
    .sleep('pause', 3_600_000)
    .step('e', ({ key, results }) => apply(`${key} ${results.c}`))
    .returns(({ results }) => results.e)
}

interface Stage {
  readonly store: Store<Queryable>
  readonly table: string
  /** What transactional steps have written of this saga. */
  written(id: string): Promise<number>
  advance(ms: number): Promise<void>
}

const databases: Record<string, TestDatabase | undefined> = {
  PGlite: await pgliteDatabase(),
  PostgreSQL: await postgresDatabase(),
}
afterAll(async () => {
  for (const database of Object.values(databases)) await database?.close()
})

async function stageOn(kind: string, clock: ReturnType<typeof virtualClock>): Promise<Stage> {
  const database = databases[kind]
  if (database) {
    const store = await database.store({ testClock: true })
    const table = `"${store.schema}".written`
    await database.pool.query(`CREATE TABLE ${table} (id text, times int)`)
    return {
      store,
      table,
      written: async (id) =>
        (await database.pool.query(`SELECT coalesce(sum(times), 0)::int AS n FROM ${table} WHERE id = $1`, [id]))
          .rows[0].n,
      advance: async (ms) => store.advance?.(ms),
    }
  }

  const rows: unknown[][] = []
  const transaction = async <T>(run: (tx: Queryable) => Promise<T>): Promise<T> => {
    const own: unknown[][] = []
    const answer = await run({ query: async (_, values = []) => ({ rows: own.splice(own.length, 0, values) }) })
    rows.push(...own)
    return answer
  }
  const written = async (of: string): Promise<number> =>
    rows.reduce((sum, [id, times]) => sum + (id === of ? Number(times) : 0), 0)
  return { store: memoryStore({ clock, transaction }), table: 'written', written, advance: async () => undefined }
}

describe.each([
  ['memory', 1],
  ['PGlite', 97],
  ['PostgreSQL', 97],
] as const)('processes that die on %s', (kind, every) => {
  const it = test.skipIf(kind !== 'memory' && databases[kind] === undefined)
  const clock = virtualClock()
  let runs = 0

  /** One life for each death, and one that cleans up. Answers how many calls the first life made. */
  async function live(
    { store, table, written, advance }: Stage,
    ending: Ending,
    deaths: readonly Death[],
  ): Promise<number> {
    const ledger: Ledger = { applied: new Set(), undone: [], pivots: 0 }
    const definition = definitionFor(`crash-${kind}-${++runs}`, ending, ledger, table)
    const pass = async (ms: number): Promise<void> => {
      await advance(ms)
      clock.moveTo(clock.now() + ms)
    }
    /** Lets time pass until the process is dead, or its saga at rest. */
    const run = async (engine: SagaEngine, dead?: Promise<void>): Promise<void> => {
      let over = false
      let id: string | undefined
      const whole = engine
        .run()
        .then(() => engine.start(definition, null, { key: 'k' }))
        .then(async (handle) => {
          id = handle.id
          await engine.send(go, id, 'went', { messageId: id })
          await engine.settled(id)
        })
        .catch(() => undefined)
      void Promise.race([whole, dead ?? whole]).then(() => {
        over = true
      })
      for (let turn = 0; !over; turn++) {
        // At once to the end of its sleep; in moments otherwise, so that leases are renewed.
        const row = id === undefined ? undefined : await store.load(id)
        const sleepsFor = row?.wakeAt === undefined ? 0 : row.wakeAt - row.now
        await pass(sleepsFor > LEASE.ttl ? sleepsFor : 300)
        await new Promise(setImmediate)
        if (turn > 4_000) throw new Error(`no end: ${JSON.stringify(row)}`)
      }
    }

    let calls = 0
    for (const death of deaths.length > 0 ? deaths : [undefined]) {
      const doomed = mortal(store, death)
      const engine = createSagaEngine({ store: doomed.store, sagas: [definition], lease: LEASE, clock })
      await run(engine, doomed.dead)
      calls = doomed.calls()
      if (death) doomed.kill()
      else await engine.close()
      await pass(2 * LEASE.ttl)
    }
    const last = createSagaEngine({ store, sagas: [definition], lease: LEASE, clock })
    await run(last)
    const { id } = await last.start(definition, null, { key: 'k' })
    let view = await last.get(id)
    if (ending === 'failure' && view?.status === 'stuck') {
      // Who failed does not speak for the dead, who may have sent theirs: an operator has found that none arrived.
      const { step = '', rev } = view
      expect([deaths.length > 0, step, ledger.undone, await written(id)]).toEqual([true, 'd', [], 1])
      await last.resume(id, { do: 'compensate', step, by: 'op', reason: 'never arrived', rev })
      await run(last)
      view = await last.get(id)
    } else {
      expect(ending !== 'failure' || ledger.pivots === 1, 'a pivot in doubt is not unwound').toBe(true)
    }
    const history = await last.history(id)
    await last.close()

    const said = `${JSON.stringify(deaths)}\n${JSON.stringify(history)}`
    expect(view?.status, said).toBe(ending === 'success' ? 'completed' : 'compensated')
    const names = ending === 'success' ? [`${id}:a:do`, `${id}:d:do`, `${id}:e:do went`] : []
    expect([...ledger.applied], said).toEqual(names)
    expect(ledger.undone, said).toEqual(ending === 'success' ? [] : [`${id}:a:do`])
    expect(await written(id), said).toBe(ending === 'success' ? 1 : 0)
    const settled = history.filter(({ outcome }) => outcome === 'ok').map(({ name, kind: what }) => `${what} ${name}`)
    expect(new Set(settled).size, 'each step settles once').toBe(settled.length)
    return calls
  }

  const deathsAt = (calls: number): Death[] =>
    Array.from({ length: calls }, (_, call) => call + 1).flatMap((call): Death[] => [
      { call, side: 'before' },
      { call, side: 'after' },
    ])

  it.each(ENDINGS)('at any call of a %s leave nothing half done', { timeout: 60_000 }, async (ending) => {
    const stage = await stageOn(kind, clock)
    const calls = await live(stage, ending, [])
    expect(calls).toBeGreaterThan(6)

    for (const death of deathsAt(calls)) await live(stage, ending, [death])
  })

  it.each(ENDINGS)('and nor does a second one, at any pair of calls of a %s', { timeout: 60_000 }, async (ending) => {
    const stage = await stageOn(kind, clock)
    const deaths = deathsAt(await live(stage, ending, []))
    const pairs = deaths.flatMap((first) => deaths.map((second) => [first, second] as const))

    // In a database one pair in so many, another share in each run.
    const from = Math.floor(Math.random() * every)
    for (const pair of pairs.filter((_, i) => i % every === from)) await live(stage, ending, pair)
  })
})
