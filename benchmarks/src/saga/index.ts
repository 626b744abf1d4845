import { type Benchmark, type Comparison, type Effort, judge, type Row, spread, THOROUGH } from '../harness/index.js'
import { type Claimer, claimer } from './claims.js'
import { CROWD, type Crowd, fill } from './crowd.js'
import { flow, oneByOne, ran } from './flow.js'
import { pgbench } from './pgbench.js'
import { type Connections, openPlace, type Place } from './place.js'
import { dbos, msx, msxInMemory, type Runner, stepsOf } from './runners.js'

/** The packages whose versions belong to the figures. */
export const MEASURED = ['@msx/saga', '@dbos-inc/dbos-sdk', 'pg'] as const

/** 20 times the rate. The goal is 30 times. */
const OF_DBOS_IN_FLIGHT = 1 / 20
const OF_DBOS_AT_REST = 0.3
/** Twice the rate. The goal is 3 times. */
const OF_INSERTS = 0.5
/** 50,000 sagas a second, in ns each. */
const IN_MEMORY = 1e9 / 50_000
const CROWDED = 1.3

const IN_FLIGHT = 200
const LONG = 200

/** Rounds that count, and how long a turn is. */
interface Plan {
  readonly rounds: number
  readonly ms: number
}

const planOf = (effort: Effort): Plan =>
  effort.rounds >= THOROUGH.rounds ? { rounds: 5, ms: 3_000 } : { rounds: 3, ms: 1_000 }

interface Entry {
  readonly name: string
  readonly target?: number | undefined
  readonly turn: () => Promise<number>
}

/** Each has its turn in every round, each round beginning with another one; the first round warms up. */
async function inTurns(title: string, entries: readonly Entry[], rounds: number, unit: string): Promise<Comparison> {
  const samples = new Map(entries.map((entry) => [entry, [] as number[]]))
  for (let round = -1; round < rounds; round += 1) {
    for (const index of entries.keys()) {
      const entry = entries[(index + round + 1) % entries.length]!
      globalThis.gc?.()
      const sample = await entry.turn()
      if (round >= 0) samples.get(entry)!.push(sample)
    }
  }
  const subjects = entries.map(({ name, target }) => ({ name, target, run: async () => {} }))
  const [ours, ...peers] = subjects
  return judge(
    { title, ours: ours!, peers },
    new Map(subjects.map((subject, i) => [subject, samples.get(entries[i]!)!])),
    unit,
  )
}

/** A row about ours alone, with a limit for what it is. */
function alone(name: string, samples: readonly number[], limit?: number): Row {
  const amount = spread(samples)
  const target =
    limit !== undefined && ({ of: 'amount', limit, kind: 'target', reached: amount.median <= limit } as const)
  return { name, role: 'ours', amount, ...(target && { target }) }
}

async function withRunners<T>(
  runners: readonly Promise<Runner>[],
  use: (all: readonly Runner[]) => Promise<T>,
): Promise<T> {
  const opened = await Promise.all(runners)
  try {
    return await use(opened)
  } finally {
    for (const runner of opened) await runner.close()
  }
}

async function* inMemory(effort: Effort): AsyncIterable<Comparison> {
  const { rounds, ms } = planOf(effort)
  const rows: Row[] = []
  for (const style of ['async', 'sync'] as const) {
    const samples: number[] = []
    for (let round = -1; round < rounds; round += 1) {
      // A store of its own each time: what is finished stays until it is pruned.
      await withRunners([msxInMemory(undefined, style)], async ([runner]) => {
        await flow(runner!, IN_FLIGHT, ms / 10, 4)
        globalThis.gc?.()
        const { nsEach } = await flow(runner!, IN_FLIGHT, ms / 3, 4)
        if (round >= 0) samples.push(nsEach)
      })
    }
    rows.push(alone(`@msx/saga, ${style} steps`, samples, IN_MEMORY))
  }
  yield { title: `memory store, 4 steps, ${IN_FLIGHT} in flight`, unit: 'ns/saga', rows }
}

async function besideDbos(place: Place, plan: Plan): Promise<readonly Comparison[]> {
  return withRunners([msx(place), dbos(place)], async ([ours, theirs]) => {
    const turns = (target: number, turn: (runner: Runner) => Promise<number>) => [
      { name: ours!.name, turn: () => turn(ours!) },
      { name: theirs!.name, target, turn: () => turn(theirs!) },
    ]
    const inFlight = turns(OF_DBOS_IN_FLIGHT, async (runner) => (await flow(runner, IN_FLIGHT, plan.ms, 4)).nsEach)
    const atRest = turns(OF_DBOS_AT_REST, (runner) => oneByOne(runner, plan.ms / 30, 4))

    return [
      await inTurns(`4 steps, ${IN_FLIGHT} in flight`, inFlight, plan.rounds, 'ns/saga'),
      await inTurns('4 steps, one saga at rest', atRest, plan.rounds, 'ns/saga'),
      await statements(ours!, theirs!),
    ]
  })
}

const COUNTED = 20

/** What a saga of four steps sends to the database, polls and beats of the same time included. */
async function statements(ours: Runner, theirs: Runner): Promise<Comparison> {
  const count = async (runner: Runner): Promise<number> => {
    const before = runner.sent()
    for (let made = 0; made < COUNTED; made += 1) await ran(runner, 4)
    return (runner.sent() - before) / COUNTED
  }
  const rows = [
    alone(ours.name, [await count(ours)], 5.5),
    { ...alone(theirs.name, [await count(theirs)]), role: 'peer' as const },
  ]
  return { title: 'statements of a saga of 4 steps at rest', unit: 'statements', rows }
}

/** Long sagas, so that there is nothing but checkpoints. */
async function* besideInserts(place: Place, { rounds, ms }: Plan): AsyncIterable<Comparison> {
  const inserts = await pgbench(place)
  const title = `checkpoints, ${IN_FLIGHT} sagas in flight, beside single-row inserts`
  try {
    yield await withRunners([msx(place, stepsOf(LONG))], ([ours]) =>
      inTurns(
        title,
        [
          { name: ours!.name, turn: async () => (await flow(ours!, IN_FLIGHT, ms, LONG)).nsEach / LONG },
          { name: inserts.name, target: OF_INSERTS, turn: () => inserts.run(ms) },
        ],
        rounds,
        'ns/row',
      ),
    )
  } finally {
    await inserts.close()
  }
}

/** What sagas of so many steps make the server write, per step. Whatever else writes meanwhile counts too. */
async function* written(place: Place, { ms }: Plan): AsyncIterable<Comparison> {
  const read = async () => {
    // The statistics of a backend arrive within a second.
    await new Promise((resolve) => setTimeout(resolve, 1_100))
    const { rows } = await place.pool.query(
      `SELECT wal_bytes::float8 AS bytes, wal_sync::float8 AS syncs FROM pg_stat_wal`,
    )
    return rows[0] as { readonly bytes: number; readonly syncs: number }
  }
  const bytes: Row[] = []
  const syncs: Row[] = []
  for (const [inFlight, title] of [
    [IN_FLIGHT, `${IN_FLIGHT} in flight`],
    [1, 'at rest'],
  ] as const) {
    for (const count of [4, 16, 64]) {
      await withRunners([msx(place, stepsOf(count))], async ([ours]) => {
        // No page is new to the log any more when it counts.
        await flow(ours!, inFlight, ms, count)
        const before = await read()
        const steps = count * (await flow(ours!, inFlight, ms, count)).sagas
        const after = await read()
        bytes.push(alone(`${count} steps, ${title}`, [(after.bytes - before.bytes) / steps]))
        syncs.push(alone(`${count} steps, ${title}`, [(1_000 * (after.syncs - before.syncs)) / steps]))
      })
    }
  }
  yield { title: 'WAL per step', unit: 'bytes', rows: bytes }
  yield { title: 'fsyncs per 1,000 steps', unit: 'fsyncs', rows: syncs }
}

const CLAIMED = 100

/** Two schemas of one database, one of them full of sagas: claims and checkpoints in turns. */
export async function* crowded({ pool, sent }: Connections, plan: Plan, crowd: Crowd): AsyncIterable<Comparison> {
  await fill(pool, 'crowded', crowd)
  const [full, empty] = [await claimer(pool, 'crowded'), await claimer(pool, 'vacant')]
  const of = `${crowd.finished.toLocaleString('en')} finished and ${crowd.waiting.toLocaleString('en')} waiting sagas`
  const entries = (turn: (claimer: Claimer) => Promise<number>): Entry[] => [
    { name: 'crowded', turn: () => turn(full) },
    { name: 'empty', target: CROWDED, turn: () => turn(empty) },
  ]
  const several = async (times: number, turn: () => Promise<number>): Promise<number> => {
    const samples: number[] = []
    for (let made = 0; made < times; made += 1) samples.push(await turn())
    return spread(samples).median
  }
  const claims = entries((of) => several(plan.ms / 100, () => of.claim(CLAIMED)))
  const looks = entries((of) => several(plan.ms / 20, () => of.idle()))
  yield await inTurns(`claim of ${CLAIMED} due sagas beside ${of}`, claims, plan.rounds, 'ns/saga')
  yield await inTurns(`claim of nothing beside ${of}`, looks, plan.rounds, 'ns/claim')

  yield await withRunners(
    [msx({ pool, sent }, undefined, 'crowded'), msx({ pool, sent }, undefined, 'vacant')],
    ([ours, theirs]) =>
      inTurns(
        `4 steps, ${IN_FLIGHT} in flight, beside ${of}`,
        [
          { name: 'crowded', turn: async () => (await flow(ours!, IN_FLIGHT, plan.ms, 4)).nsEach },
          { name: 'empty', target: CROWDED, turn: async () => (await flow(theirs!, IN_FLIGHT, plan.ms, 4)).nsEach },
        ],
        plan.rounds,
        'ns/saga',
      ),
  )
}

/** A benchmark that has a database of its own for as long as it takes. */
function onPostgres(name: string, measure: (place: Place, plan: Plan) => AsyncIterable<Comparison>): Benchmark {
  return {
    name,
    async *run(effort) {
      const place = await openPlace()
      if (place === undefined) return
      try {
        yield* measure(place, planOf(effort))
      } finally {
        await place.close()
      }
    },
  }
}

export const BENCHMARKS: readonly Benchmark[] = [
  { name: 'memory', run: inMemory },
  onPostgres('dbos', async function* (place, plan) {
    yield* await besideDbos(place, plan)
  }),
  onPostgres('checkpoints', besideInserts),
  onPostgres('wal', written),
  onPostgres('crowded', (place, plan) => crowded(place, plan, CROWD)),
]
