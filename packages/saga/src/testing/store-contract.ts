import assert from 'node:assert/strict'
import { isSagaConflictError } from '../errors.js'
import { risingIds } from '../internal/uuid.js'
import { FRESH } from '../state.js'
import type { NewRecord, NewSaga, SagaRow, Store, Transition } from '../store.js'

/** One case of a contract suite: any test runner can run it. */
export interface ContractCase {
  readonly name: string
  run(): Promise<void>
}

const TTL = 60_000
const nextId = risingIds()
const CAN = [{ name: 'order', version: 1 }]
const COMPLETED = { keep: false, finished: true, progress: { ...FRESH, status: 'completed' } } as const

/**
 * What the engine relies on in every store. `make` gives each case an empty store that nobody else uses; a case takes at most
 * half a second.
 *
 * @example
 * for (const c of storeContract(() => myStore())) test(c.name, c.run)
 */
export function storeContract<Tx>(make: () => Promise<Store<Tx>> | Store<Tx>): readonly ContractCase[] {
  const cases: ContractCase[] = []
  const it = (name: string, run: (store: Store<Tx>) => Promise<void>): void => {
    cases.push({ name, run: async () => run(await make()) })
  }

  it('gives back what was created, due at once', async (store) => {
    const { saga, created } = await store.create(newSaga({ key: 'k', tags: { region: 'eu' } }))

    assert.equal(created, true)
    assert.deepEqual([saga.rev, saga.fence, saga.worker, saga.claims], [1, 1, undefined, 0])
    const loaded = await store.load(saga.id)
    assert.equal(loaded?.input, saga.input)
    assert.deepEqual(loaded?.tags, { region: 'eu' })
    assert.deepEqual(loaded?.progress.status, 'running')
    assert.deepEqual((await claimed(store)).at(0)?.id, saga.id)
  })

  it('finds the first saga under a known key, and refuses another input for it', async (store) => {
    const first = await store.create(newSaga({ key: 'k', input: '{"a":1,"b":2}' }))
    const again = await store.create(newSaga({ key: 'k', input: '{"b":2,"a":1}' }))

    assert.deepEqual([again.created, again.saga.id], [false, first.saga.id])
    await assert.rejects(store.create(newSaga({ key: 'k', input: '{"a":2}' })), isSagaConflictError)
    assert.equal((await store.create(newSaga({ key: 'other' }))).created, true)
  })

  it('creates one saga when many starts race for a key', async (store) => {
    const starts = await Promise.all(Array.from({ length: 8 }, () => store.create(newSaga({ key: 'k' }))))

    assert.equal(starts.filter(({ created }) => created).length, 1)
    assert.equal(new Set(starts.map(({ saga }) => saga.id)).size, 1)
  })

  it('parks what nobody takes for its version, and gives it out as it was', async (store) => {
    if (!store.park) return
    const [mine, other] = [newSaga({ version: 7 }), newSaga({ version: 7, name: 'somebody else' })]
    for (const saga of [mine, other, newSaga({})]) await store.create(saga)

    assert.deepEqual(await store.park({ can: CAN, overdue: 60_000, limit: 10 }), [])
    const parked = await store.park({ can: CAN, overdue: 0, limit: 10 })
    assert.deepEqual(parked, [{ id: mine.id, name: 'order', version: 7 }])
    assert.deepEqual(await store.park({ can: CAN, overdue: 0, limit: 10 }), [])

    const row = await store.load(mine.id)
    assert.deepEqual([row?.progress.status, row?.rev], ['stuck', 2])
    assert.match(row?.progress.problem?.message ?? '', /saga 'order' version 7/)
    assert.equal((await store.load(other.id))?.progress.status, 'running')

    const worker = await enlisted(store)
    const [taken] = await store.claim({ worker, can: [{ name: 'order', version: 7 }], limit: 10 })
    assert.deepEqual(
      [taken?.id, taken?.rev, taken?.progress.status, taken?.progress.problem],
      [mine.id, 2, 'running', undefined],
    )
  })

  it('keeps every payload as it came: null, nothing, U+0000, lone surrogates', async (store) => {
    const worker = await enlisted(store)
    for (const output of ['null', undefined, '"a\\u0000b"', '"\\ud800"', '1e300', '{"b":1,"a":[]}']) {
      const { saga } = await store.create(newSaga({ worker, input: output }))
      const error = { name: 'Error', message: 'a\0b', cause: { name: 'Error', message: '\ud800' } }
      const step = record({ output, error })
      await store.commit([
        transition(saga, { output, record: step, progress: { ...FRESH, problem: error, cause: error } }),
      ])

      const loaded = await store.load(saga.id)
      assert.equal(loaded?.input, output)
      assert.equal(loaded?.output, output)
      assert.equal(loaded?.records[0]?.output, output)
      assert.deepEqual(loaded?.records[0]?.error, error)
      assert.deepEqual(loaded?.progress.cause, error)
    }
  })

  it('gives a saga to the worker that starts it only when that worker has a lease', async (store) => {
    const worker = await enlisted(store)

    const own = (await store.create(newSaga({ worker }))).saga
    const stray = (await store.create(newSaga({ worker: crypto.randomUUID() }))).saga

    assert.deepEqual([own.worker, own.claims, own.wakeAt], [worker, 1, undefined])
    assert.deepEqual([stray.worker, stray.claims], [undefined, 0])
    assert.deepEqual(ids(await claimed(store)), [stray.id])
  })

  it('takes what a worker owns without knowing it only when asked for that', async (store) => {
    const worker = await enlisted(store)
    const [known, astray] = [newSaga({ worker }), newSaga({ worker })]
    for (const born of [known, astray]) await store.create(born)
    const other = newSaga({ worker: await enlisted(store) })
    await store.create(other)

    assert.deepEqual(await store.claim({ worker, can: CAN, limit: 9 }), [])
    const taken = await store.claim({ worker, can: CAN, limit: 9, holding: [known.id] })

    assert.deepEqual(ids(taken), [astray.id])
    assert.deepEqual([taken[0]?.worker, taken[0]?.fence, taken[0]?.claims], [worker, 2, 2])
    assert.deepEqual(await store.claim({ worker: other.id, can: CAN, limit: 9, holding: [] }), [])
  })

  it('claims nothing for a worker without a lease', async (store) => {
    await store.create(newSaga())

    assert.deepEqual(await store.claim({ worker: crypto.randomUUID(), can: CAN, limit: 10 }), [])
  })

  it('claims only what the worker has the definition of, and what is due', async (store) => {
    const due = (await store.create(newSaga())).saga
    await store.create(newSaga({ version: 2 }))
    await store.create(newSaga({ name: 'refund' }))
    await store.create(newSaga({ delay: 60_000 }))

    assert.deepEqual(ids(await claimed(store)), [due.id])
  })

  it('claims the longest due first, up to the limit, and raises fence and claims', async (store) => {
    const created: string[] = []
    for (let i = 0; i < 3; i++) created.push((await store.create(newSaga())).saga.id)
    const worker = await enlisted(store)

    const rows = await store.claim({ worker, can: CAN, limit: 2 })

    assert.deepEqual(ids(rows).sort(), created.slice(0, 2).sort())
    assert.deepEqual([rows[0]?.fence, rows[0]?.claims, rows[0]?.worker, rows[0]?.rev], [2, 1, worker, 1])
    assert.deepEqual(ids(await store.claim({ worker, can: CAN, limit: 2 })), created.slice(2))
  })

  it('never gives one saga to two workers', async (store) => {
    for (let i = 0; i < 12; i++) await store.create(newSaga())
    const workers = await Promise.all(Array.from({ length: 4 }, () => enlisted(store)))

    const claims = await Promise.all(workers.map((worker) => store.claim({ worker, can: CAN, limit: 5 })))
    const rest = await claimed(store)

    const all = ids([...claims.flat(), ...rest])
    assert.equal(all.length, 12)
    assert.equal(new Set(all).size, 12)
  })

  it('lets a delayed saga run from its first claim on', async (store) => {
    const { saga } = await store.create(newSaga({ delay: 500, progress: { ...FRESH, status: 'waiting' } }))
    assert.deepEqual(await claimed(store), [])

    const [row] = await eventually(() => claimed(store))
    assert.deepEqual([row?.id, row?.progress.status], [saga.id, 'running'])
  })

  it('accepts a write that knows fence and rev, and appends its record', async (store) => {
    const saga = await owned(store)
    const progress = { ...FRESH, cursor: 1, attempt: 2, delay: 7.5, committed: true, cancel: 'why' }

    const accepted = await store.commit([transition(saga, { progress, record: record({ attempt: 3 }) })])

    const row = (await store.load(saga.id)) as SagaRow
    assert.deepEqual([...accepted], [saga.id])
    assert.deepEqual([row.rev, row.fence, row.worker, row.claims], [saga.rev + 1, saga.fence, saga.worker, 1])
    assert.deepEqual(defined(row.progress), defined(progress))
    assert.deepEqual(
      row.records.map(({ seq, name, attempt }) => [seq, name, attempt]),
      [[row.rev, 'pay', 3]],
    )
  })

  it('refuses a write with an old rev or an old fence, and accepts the others of its batch', async (store) => {
    const [a, b, c] = [await owned(store), await owned(store), await owned(store)]

    const accepted = await store.commit([
      transition({ ...a, rev: a.rev + 1 }, { record: record({}) }),
      transition({ ...b, fence: b.fence - 1 }, { record: record({}) }),
      transition(c, { record: record({}) }),
    ])

    assert.deepEqual([...accepted], [c.id])
    assert.equal((await store.load(a.id))?.records.length, 0)
    assert.equal((await store.load(b.id))?.rev, b.rev)
  })

  it('applies the same write once', async (store) => {
    const saga = await owned(store)
    const write = transition(saga, { record: record({}) })
    await store.commit([write])

    assert.equal((await store.commit([write])).size, 0)
    assert.equal((await store.load(saga.id))?.token, write.token)
  })

  it('frees a saga that is given back, at the time that was named, and lets one at rest rest', async (store) => {
    const soon = await owned(store)
    const late = await owned(store)
    const rest = await owned(store)
    await store.commit([
      transition(soon, { keep: false, wakeIn: 0, claims: 0 }),
      transition(late, { keep: false, wakeIn: 60_000, claims: 0 }),
      transition(rest, COMPLETED),
    ])

    assert.deepEqual(ids(await claimed(store)), [soon.id])
    const ended = await store.load(rest.id)
    assert.deepEqual([ended?.worker, ended?.wakeAt], [undefined, undefined])
    assert.equal(typeof ended?.finishedAt, 'number')
  })

  it('frees what a worker owned when its lease has run out, and refuses everything it writes then', async (store) => {
    const zombie = crypto.randomUUID()
    await store.enlist(zombie, TTL)
    const { saga } = await store.create(newSaga({ worker: zombie }))
    assert.equal(saga.worker, zombie)
    assert.equal(await store.sweep(), 0)
    await store.beat(zombie, 1)

    await eventually(async () => ((await store.sweep()) > 0 ? [1] : []))
    assert.equal((await store.commit([transition(saga, { record: record({}) })])).size, 0, 'freed, not yet claimed')
    const [row] = await claimed(store)

    assert.equal(row?.id, saga.id)
    assert.deepEqual([(row?.fence as number) > saga.fence, row?.claims], [true, 2])
    assert.equal(await store.beat(zombie, TTL), false)
    assert.equal((await store.commit([transition(saga, { record: record({}) })])).size, 0)
  })

  it('keeps a lease that is renewed', async (store) => {
    const worker = crypto.randomUUID()
    await store.enlist(worker, 400)
    const { saga } = await store.create(newSaga({ worker }))

    assert.equal(await store.beat(worker, TTL), true)
    await pause(420)

    assert.equal(await store.sweep(), 0)
    assert.equal((await store.load(saga.id))?.worker, worker)
  })

  it('frees at once what a worker owned that leaves', async (store) => {
    const worker = await enlisted(store)
    const { saga } = await store.create(newSaga({ worker }))

    await store.leave(worker)

    assert.deepEqual(ids(await claimed(store)), [saga.id])
    assert.equal(await store.beat(worker, TTL), false)
  })

  it('lists from the newest to the oldest, by status, name, tags and age, page by page', async (store) => {
    const tags = { shop: 'a', kind: 'x' }
    const first = (await store.create(newSaga({ tags }))).saga
    await pause(5)
    const second = (await store.create(newSaga({ tags: { shop: 'a' } }))).saga
    await pause(5)
    const third = (await store.create(newSaga({ name: 'refund', tags: { shop: 'b' } }))).saga
    const list = async (query: object): Promise<string[]> => ids(await store.list({ limit: 10, ...query }))

    assert.deepEqual(await list({}), [third.id, second.id, first.id])
    assert.deepEqual(await list({ limit: 2 }), [third.id, second.id])
    assert.deepEqual(await list({ below: second.id }), [first.id])
    await assert.rejects(list({ below: 'nonsense' }), /^TypeError: list: after must be a page's next, not 'nonsense'$/)
    assert.deepEqual(await list({ name: 'refund' }), [third.id])
    assert.deepEqual(await list({ tags: { shop: 'a' } }), [second.id, first.id])
    assert.deepEqual(await list({ tags }), [first.id])
    assert.deepEqual(await list({ status: 'completed' }), [])
    assert.deepEqual(await list({ startedAfter: first.createdAt + 1 }), [third.id, second.id])
    assert.deepEqual(await list({ startedBefore: first.createdAt + 1 }), [first.id])
  })

  it('knows how long a deadline is away', async (store) => {
    const { saga } = await store.create(newSaga({ deadline: 1_000 }))

    const left = (await store.load(saga.id))?.deadlineIn as number
    assert.ok(left > 500 && left <= 1_000, `${left}`)
  })

  it('finds nothing under an id that nobody has', async (store) => {
    assert.equal(await store.load(nextId()), undefined)
    assert.equal(await store.load('nonsense'), undefined)
  })

  it('runs work and its checkpoint together, and neither for a saga that is no longer held', async (store) => {
    if (!store.transactional) return
    const saga = await owned(store)
    let ran = 0
    const work = async (): Promise<Transition> => {
      ran++
      return transition(saga, { record: record({}) })
    }

    assert.equal(await store.commitWith({ ...saga, rev: 99 }, work), false)
    assert.equal(await store.commitWith({ ...saga, fence: 0 }, work), false)
    assert.equal(ran, 0)
    assert.equal(await store.commitWith(saga, work), true)
    assert.equal((await store.load(saga.id))?.records.length, 1)
  })

  it('gives nobody a saga whose transaction is under way, not even the one who does not know of it', async (store) => {
    if (!store.transactional) return
    const worker = await enlisted(store)
    const { saga } = await store.create(newSaga({ worker }))
    let claiming: Promise<SagaRow[]> | undefined

    const done = await store.commitWith(saga, async () => {
      claiming = store.claim({ worker, can: CAN, limit: 5, holding: [] })
      // A database with one connection answers after the transaction.
      await Promise.race([claiming, pause(50)])
      return transition(saga, COMPLETED)
    })

    assert.deepEqual([done, await claiming], [true, []])
  })

  it('leaves nothing of work that failed', async (store) => {
    if (!store.transactional) return
    const saga = await owned(store)
    const wrong = new Error('no')

    await assert.rejects(
      store.commitWith(saga, async () => {
        throw wrong
      }),
      wrong,
    )

    assert.equal((await store.load(saga.id))?.rev, saga.rev)
    assert.equal((await store.commit([transition(saga, {})])).size, 1)
  })

  it('creates a child with the write of its parent, or neither', async (store) => {
    const saga = await owned(store)
    const [child, stray] = [newSaga({ parent: saga.id }), newSaga({ parent: saga.id })]

    assert.equal(await store.spawn(transition({ ...saga, rev: 9 }, {}), stray), false)
    assert.equal(await store.spawn(transition(saga, { record: record({ child: child.id, due: 5 }) }), child), true)

    assert.equal(await store.load(stray.id), undefined)
    assert.equal((await store.load(child.id))?.parent, saga.id)
    const [written] = (await store.load(saga.id))?.records ?? []
    assert.deepEqual([written?.child, written?.due], [child.id, 5])
  })

  it('wakes a parent at the end of its child, one that goes to rest a moment later too', async (store) => {
    for (const order of ['rests first', 'ends first']) {
      const parent = await owned(store)
      const child = (await store.create(newSaga({ parent: parent.id, worker: await enlisted(store) }))).saga
      const rest = () =>
        store.commit([
          transition(parent, {
            keep: false,
            claims: 0,
            nudges: parent.nudges,
            progress: { ...FRESH, status: 'waiting' },
          }),
        ])
      const end = () => store.commit([transition(child, { keep: false, finished: true, parent: parent.id })])

      if (order === 'rests first') await rest()
      await end()
      if (order === 'ends first') await rest()

      const [row] = await claimed(store)
      assert.deepEqual([row?.id, row?.nudges, row?.progress.status], [parent.id, 1, 'running'], order)
    }
  })

  it('keeps an event until a saga looks for it, and gives it once', async (store) => {
    const saga = await owned(store)
    const mail = { event: 'paid', key: nextId(), messageId: undefined }
    assert.equal(await store.deliver({ ...mail, payload: '1' }), 'buffered')
    assert.equal(await store.deliver({ ...mail, payload: undefined }), 'buffered')
    assert.equal(await store.deliver({ ...mail, event: 'sent', payload: '3' }), 'buffered')

    const seen: unknown[] = []
    let row = saga
    for (let i = 0; i < 3; i++) {
      const accepted = await store.receive(saga.id, { ...mail, step: 'wait' }, (found) => {
        seen.push(found?.payload)
        return transition(row, { record: record({}) })
      })
      assert.equal(accepted, true)
      row = (await store.load(saga.id)) as SagaRow
    }

    assert.deepEqual(seen, ['1', undefined, undefined])
  })

  it('gives an event to the saga that waits for it the longest, and makes it due', async (store) => {
    const mail = { event: 'paid', key: nextId(), messageId: undefined, payload: '1' }
    const [first, second] = [await waitingFor(store, mail), await waitingFor(store, mail)]
    assert.deepEqual(await claimed(store), [])

    assert.equal(await store.deliver(mail), 'delivered')

    assert.deepEqual(ids(await claimed(store)), [first.id])
    assert.equal(await store.deliver(mail), 'delivered')
    assert.deepEqual(ids(await claimed(store)), [second.id])
    assert.equal(await store.deliver(mail), 'buffered')
  })

  it('loses no event that comes between the look of a saga and its decision to wait', async (store) => {
    for (let i = 0; i < 8; i++) {
      const saga = await owned(store)
      const mail = { event: 'paid', key: nextId(), messageId: undefined, payload: '1' }
      let found = false
      const [accepted, delivered] = await Promise.all([
        store.receive(saga.id, { ...mail, step: 'wait' }, (letter) => {
          found = letter !== undefined
          const waiting = { ...FRESH, status: 'waiting' } as const
          const started = record({ name: 'wait', kind: 'wait', outcome: 'started' })
          return found
            ? transition(saga, { record: record({}) })
            : transition(saga, { keep: false, claims: 0, progress: waiting, record: started })
        }),
        store.deliver(mail),
      ])

      assert.equal(accepted, true)
      assert.equal(delivered, found ? 'buffered' : 'delivered')
      if (!found) assert.deepEqual(ids(await claimed(store)), [saga.id])
    }
  })

  it('takes no event with a write that is refused', async (store) => {
    const saga = await owned(store)
    const mail = { event: 'paid', key: nextId(), messageId: undefined, payload: '1' }
    await store.deliver(mail)
    const take = (row: SagaRow) =>
      store.receive(saga.id, { ...mail, step: 'wait' }, (found) => {
        assert.equal(found?.payload, '1')
        return transition(row, { record: record({}) })
      })

    assert.equal(await take({ ...saga, fence: 0 }), false)
    assert.equal(await take(saga), true)
  })

  it('hands on what was delivered to a saga that does not wait any more', async (store) => {
    const mail = { event: 'paid', key: nextId(), messageId: undefined, payload: '1' }
    const gone = await waitingFor(store, mail)
    await store.deliver(mail)
    const next = await waitingFor(store, { ...mail })
    const [row] = await claimed(store)
    assert.equal(row?.id, gone.id)

    await store.commit([transition(row as SagaRow, { keep: false, unwait: true })])

    assert.deepEqual(ids(await claimed(store)), [next.id])
  })

  it('forgets the ids of old events that were taken, and of no others', async (store) => {
    const saga = await owned(store)
    const taken = { event: 'paid', key: nextId(), messageId: 'taken', payload: '1' }
    const kept = { ...taken, key: nextId(), messageId: 'kept' }
    await store.deliver(taken)
    await store.deliver(kept)
    await store.receive(saga.id, { ...taken, step: 'wait' }, () => transition(saga, {}))
    assert.equal(await store.deliver(taken), 'duplicate')

    await store.prune({ finishedBefore: saga.createdAt - 60_000, limit: 9 })
    assert.equal(await store.deliver(taken), 'duplicate')
    await store.prune({ finishedBefore: saga.createdAt + 60_000, limit: 9 })

    assert.equal(await store.deliver(taken), 'buffered')
    assert.equal(await store.deliver(kept), 'duplicate')
  })

  it('knows a message id again, in its own mailbox only', async (store) => {
    const mail = { event: 'paid', key: nextId(), messageId: 'm', payload: '1' }

    assert.equal(await store.deliver(mail), 'buffered')
    assert.equal(await store.deliver(mail), 'duplicate')
    assert.equal(await store.deliver({ ...mail, key: nextId() }), 'buffered')
  })

  it('lets one saga at a time have a lock', async (store) => {
    const lock = nextId()
    const [first, second] = [
      (await store.create(newSaga({ lock }))).saga,
      (await store.create(newSaga({ lock, delay: 1 }))).saga,
    ]
    await pause(5)

    const [row] = await claimed(store)
    assert.deepEqual([row?.id, await claimed(store)], [first.id, []])
    await store.commit([transition(row as SagaRow, { keep: false, finished: true, lock })])

    assert.deepEqual(ids(await claimed(store)), [second.id])
  })

  it('claims no more sagas of a name than may run', async (store) => {
    for (let i = 0; i < 3; i++) await store.create(newSaga())
    const can = [{ name: 'order', version: 1, maxRunning: 2 }]
    const claim = async () => store.claim({ worker: await enlisted(store), can, limit: 9 })

    const claims = await Promise.all([claim(), claim()])
    const rows = claims.flat()
    assert.equal(rows.length, 2)
    await store.commit([transition(rows[0] as SagaRow, { keep: false, finished: true })])

    assert.equal((await claim()).length, 1)
  })

  it('deletes what finished long ago, the oldest first, and never a child of the living', async (store) => {
    const ended = async (given: Partial<NewSaga>) => {
      const { saga } = await store.create(newSaga({ worker: await enlisted(store), ...given }))
      await store.commit([transition(saga, COMPLETED)])
      return saga.id
    }
    const parent = await owned(store)
    const child = await ended({ parent: parent.id })
    const old = await ended({ key: 'k' })
    await pause(5)
    const young = await ended({})
    const at = (await store.load(young))?.finishedAt as number

    assert.equal(await store.prune({ finishedBefore: at, limit: 9 }), 1)

    assert.equal(await store.load(old), undefined)
    assert.ok((await store.load(child)) && (await store.load(young)))
    assert.equal((await store.create(newSaga({ key: 'k' }))).created, true)
    assert.equal(await store.prune({ finishedBefore: at + 1_000, limit: 1 }), 1)
    assert.equal(await store.prune({ finishedBefore: at + 1_000, limit: 9 }), 0)
  })

  it('keeps what branches, parents, locks and traces need', async (store) => {
    const parent = (await store.create(newSaga())).saga.id
    const { saga } = await store.create(
      newSaga({ worker: await enlisted(store), parent, lock: 'l', trace: '{"traceparent":"00-1"}' }),
    )
    const lanes = {
      counters: { a: { attempt: 1, delay: 2.5, intent: true } },
      failing: { step: 'b', error: { name: 'Error', message: 'no' } },
      doubt: ['c'],
    }

    await store.commit([transition(saga, { progress: { ...FRESH, lanes } })])

    const row = await store.load(saga.id)
    assert.deepEqual(row?.progress.lanes, lanes)
    assert.deepEqual([row?.parent, row?.lock, row?.trace], [parent, 'l', '{"traceparent":"00-1"}'])
    assert.ok(Math.abs((row?.now ?? 0) - (row?.createdAt ?? 0)) < 10_000)
  })

  return cases
}

/** A saga that has looked into the mailbox in vain. */
async function waitingFor<Tx>(store: Store<Tx>, { event, key }: { event: string; key: string }): Promise<SagaRow> {
  const saga = await owned(store)
  await pause(2)
  const progress = { ...FRESH, status: 'waiting' } as const
  await store.receive(saga.id, { event, key, step: 'wait' }, () =>
    transition(saga, {
      keep: false,
      claims: 0,
      progress,
      record: record({ name: 'wait', kind: 'wait', outcome: 'started' }),
    }),
  )
  return saga
}

function newSaga(given: Partial<NewSaga> = {}): NewSaga {
  return {
    id: nextId(),
    name: 'order',
    version: 1,
    shape: 'shape',
    key: undefined,
    input: '{"n":1}',
    tags: {},
    delay: 0,
    deadline: undefined,
    worker: undefined,
    progress: FRESH,
    ...given,
  }
}

function record(given: Partial<NewRecord>): NewRecord {
  return { name: 'pay', kind: 'do', outcome: 'ok', attempt: 1, took: 1.5, ...given }
}

function transition(saga: SagaRow, given: Partial<Transition>): Transition {
  return {
    id: saga.id,
    fence: saga.fence,
    rev: saga.rev,
    token: crypto.randomUUID(),
    keep: given.wakeIn === undefined,
    wakeIn: undefined,
    claims: 1,
    progress: saga.progress,
    output: undefined,
    finished: false,
    record: undefined,
    ...given,
  }
}

async function enlisted<Tx>(store: Store<Tx>): Promise<string> {
  const worker = crypto.randomUUID()
  await store.enlist(worker, TTL)
  return worker
}

async function owned<Tx>(store: Store<Tx>): Promise<SagaRow> {
  return (await store.create(newSaga({ worker: await enlisted(store) }))).saga
}

async function claimed<Tx>(store: Store<Tx>): Promise<SagaRow[]> {
  return store.claim({ worker: await enlisted(store), can: CAN, limit: 100 })
}

const ids = (rows: readonly SagaRow[]): string[] => rows.map(({ id }) => id)

const defined = (value: object): object => JSON.parse(JSON.stringify(value)) as object

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

async function eventually<T>(look: () => Promise<T[]>): Promise<T[]> {
  for (let i = 0; i < 200; i++) {
    const seen = await look()
    if (seen.length > 0) return seen
    await pause(5)
  }
  throw new assert.AssertionError({ message: 'waited in vain' })
}
