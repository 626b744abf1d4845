import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createSagaEngine, memoryStore, NonRetryableError, type Queryable, type Store, saga } from './index.js'
import { pgliteDatabase, type TestDatabase } from './testing/databases.js'
import { type Death, mortal } from './testing/mortal.js'

/*
 * A process dies before or after each of its calls to the store, one run per call; another engine finds what is left
 * and finishes it. Whatever the moment, effects and their undoing must add up.
 */
const ENDINGS = ['success', 'failure'] as const
const LEASE = { ttl: 100 }

interface World {
  readonly applied: Set<string>
  readonly undone: string[]
  readonly accepted: Map<string, unknown>
}

function definitionFor(name: string, ending: (typeof ENDINGS)[number], world: World) {
  const step = (key: string): string => {
    world.applied.add(key)
    return key
  }
  const undo = (forwardKey: string): void => {
    if (world.applied.delete(forwardKey)) world.undone.push(forwardKey)
  }

  return saga<null>(name)
    .step('a', ({ key }) => step(key), { compensate: ({ forwardKey }) => undo(forwardKey) })
    .txStep('b', () => 'b')
    .step('c', ({ key }) => step(key), { compensate: ({ forwardKey }) => undo(forwardKey) })
    .pivot('d', ({ key }) => {
      if (ending === 'failure') throw new NonRetryableError('no')
      return step(key)
    })
    .step('e', ({ key }) => step(key))
    .returns(({ results }) => results.e)
}

describe.each(['memory', 'PGlite'])('a process that dies on %s', (kind) => {
  let database: TestDatabase | undefined
  let store: Store<Queryable>
  let runs = 0

  beforeAll(async () => {
    database = kind === 'PGlite' ? await pgliteDatabase() : undefined
    const nothing: Queryable = { query: async () => ({ rows: [] }) }
    store = (await database?.store()) ?? memoryStore({ transaction: (run) => run(nothing) })
  }, 30_000)

  afterAll(() => database?.close())

  /** One life that ends at `death`, and one that cleans up. Answers how many calls the first one made. */
  async function live(ending: (typeof ENDINGS)[number], death?: Death): Promise<number> {
    const world: World = { applied: new Set(), undone: [], accepted: new Map() }
    const definition = definitionFor(`crash-${++runs}`, ending, world)
    const doomed = mortal(store, death)
    const first = createSagaEngine({ store: doomed.store, sagas: [definition], lease: LEASE })

    const whole = first
      .run()
      .then(() => first.start(definition, null, { key: 'k' }))
      .then((handle) => handle.result())
      .catch(() => undefined)
    await Promise.race([whole, doomed.dead])
    const calls = doomed.calls()
    if (death) doomed.kill()
    else await first.close()

    const second = createSagaEngine({ store, sagas: [definition], lease: LEASE })
    await second.run()
    const { id } = await second.start(definition, null, { key: 'k' })
    const view = await second.settled(id, { timeout: 4_000 })
    const history = await second.history(id)
    await second.close()

    expect(view.status).toBe(ending === 'success' ? 'completed' : 'compensated')
    const names = ending === 'success' ? ['a', 'c', 'd', 'e'] : []
    expect([...world.applied]).toEqual(names.map((name) => `${id}:${name}:do`))
    expect(world.undone).toEqual(ending === 'success' ? [] : [`${id}:c:do`, `${id}:a:do`])
    const settled = history.filter(({ outcome }) => outcome === 'ok').map(({ name, kind }) => `${kind} ${name}`)
    expect(new Set(settled).size, 'each step settles once').toBe(settled.length)
    return calls
  }

  test.each(ENDINGS)('at any call of a %s leaves nothing half done', { timeout: 60_000 }, async (ending) => {
    const calls = await live(ending)
    expect(calls).toBeGreaterThan(6)

    const deaths = Array.from({ length: calls }, (_, call) => call + 1).flatMap((call): Death[] => [
      { call, side: 'before' },
      { call, side: 'after' },
    ])
    for (const death of deaths) await live(ending, death)
  })
})
