import type { SagaRow, Store, Transition } from '../store.js'
import { VERBS } from '../testing/mortal.js'

const TERMINAL: ReadonlySet<string> = new Set(['completed', 'compensated', 'cancelled', 'abandoned'])

/**
 * Looks at a store from outside, through its port alone, and writes down what must not be:
 *
 * I1  what a saga's history says, it says for ever
 * I2  the fence never falls, each new owner has a higher one, and no write of an older fence is accepted
 * I3  what is undone is undone in reverse, and each step settles once
 * I4  nothing is undone after the pivot
 * I5  what is not finished is owned, or due, or waits for something, or is stuck
 * I6  an end is an end (of a child: until its parent takes it back)
 */
export class Witness {
  readonly problems: string[] = []
  readonly #last = new Map<string, SagaRow>()
  /** The steps of each definition, in their order, and where its pivot is. */
  readonly #plans: ReadonlyMap<string, readonly string[]>

  constructor(plans: ReadonlyMap<string, readonly string[]> = new Map()) {
    this.#plans = plans
  }

  #blame(row: Pick<SagaRow, 'id' | 'name'>, rule: string, what: string): void {
    this.problems.push(`${rule} ${row.name} ${row.id}: ${what}`)
  }

  /** A store that is watched at each of its writes. `serial`: nobody else changes it between two lines of this one. */
  watch<Tx>(store: Store<Tx>): Store<Tx> {
    const watched: Record<string, unknown> = { transactional: store.transactional }
    if (store.adopt) watched['adopt'] = store.adopt.bind(store)
    for (const verb of VERBS) {
      const real = (store[verb] as (...args: unknown[]) => Promise<unknown>).bind(store)
      watched[verb] = real
    }
    watched['commit'] = async (batch: readonly Transition[]) => {
      const before = await Promise.all(batch.map(({ id }) => store.load(id)))
      const accepted = await store.commit(batch)
      for (const [i, { id, fence }] of batch.entries()) {
        const was = before[i]
        if (accepted.has(id) && was && was.fence !== fence)
          this.#blame(was, 'I2', `a write of fence ${fence} was accepted at fence ${was.fence}`)
      }
      return accepted
    }
    return watched as unknown as Store<Tx>
  }

  /** Compares all sagas of the store with how they were. */
  async look(store: Pick<Store<never>, 'list' | 'load'>): Promise<SagaRow[]> {
    const rows: SagaRow[] = []
    for (const { id } of await store.list({ limit: 10_000 })) {
      const row = await store.load(id)
      if (row) rows.push(row)
    }
    for (const row of rows) this.see(row)
    return rows
  }

  see(row: SagaRow): void {
    const before = this.#last.get(row.id)
    this.#last.set(row.id, row)
    this.#checkAlone(row)
    if (!before) return

    for (const [i, said] of before.records.entries()) {
      const says = row.records[i]
      if (says !== said && JSON.stringify(says) !== JSON.stringify(said))
        this.#blame(row, 'I1', `its history said ${JSON.stringify(said)} and says ${JSON.stringify(says)}`)
    }
    if (row.fence < before.fence || row.rev < before.rev)
      this.#blame(row, 'I2', `it went back from fence ${before.fence}, rev ${before.rev} to ${row.fence}, ${row.rev}`)
    if (
      row.worker !== undefined &&
      before.worker !== undefined &&
      row.worker !== before.worker &&
      row.fence <= before.fence
    )
      this.#blame(row, 'I2', 'it has another owner under the same fence')
    if (TERMINAL.has(before.progress.status) && row.rev !== before.rev && row.parent === undefined)
      this.#blame(row, 'I6', `it was ${before.progress.status} and became ${row.progress.status}`)
  }

  #checkAlone(row: SagaRow): void {
    const { records, progress } = row
    const undone = records.filter(({ kind, outcome }) => kind === 'undo' && (outcome === 'ok' || outcome === 'skipped'))
    const done = records.filter(({ kind, outcome }) => kind !== 'undo' && kind !== 'operator' && outcome === 'ok')
    for (const settled of [undone, done]) {
      const twice = settled.find(({ name }, i) => settled.findIndex((other) => other.name === name) !== i)
      if (twice) this.#blame(row, 'I3', `'${twice.name}' settled twice`)
    }

    const steps = this.#plans.get(row.name)
    if (steps) {
      const places = undone.map(({ name }) => steps.indexOf(name))
      if (places.some((place, i) => i > 0 && place > (places[i - 1] as number)))
        this.#blame(row, 'I3', `undone in the order ${undone.map(({ name }) => name).join(', ')}`)
    }
    if (progress.committed && progress.direction === 'backward')
      this.#blame(row, 'I4', 'it turned round after its pivot')
    if (progress.committed && undone.length > 0) this.#blame(row, 'I4', 'something was undone, and the pivot is done')

    const isOpen = !TERMINAL.has(progress.status) && progress.status !== 'stuck'
    const waits = records.some(({ kind, outcome }) => kind !== 'do' && outcome === 'started')
    const mayRest = (progress.status === 'waiting' || progress.status === 'compensating') && waits
    if (isOpen && row.worker === undefined && row.wakeAt === undefined && !mayRest)
      this.#blame(row, 'I5', `it is ${progress.status}, and nobody's, and never due`)
    if (!isOpen && row.worker !== undefined) this.#blame(row, 'I5', `it is ${progress.status}, and owned`)
    if (TERMINAL.has(progress.status) !== (row.finishedAt !== undefined))
      this.#blame(row, 'I6', `it is ${progress.status} and was finished at ${row.finishedAt}`)
  }
}
