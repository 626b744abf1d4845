/** What has a place in the order of its key. */
interface Keyed {
  readonly type: string
  readonly key: string | null
}

/**
 * Keeps the order of each key on the way to the broker. Rows go out without waiting for those before them, as long as
 * nothing is to be feared: the broker may refuse an event of a type it has not taken before, so what comes behind such a
 * row with the same key waits until the broker has it. Behind a row that failed nothing of its key goes out.
 */
export class Lines<Row extends Keyed> {
  readonly #send: (row: Row) => void
  readonly #drop: (row: Row) => void
  readonly #taken = new Set<string>()
  /** Per key: the row that is waited for, and those behind it. */
  readonly #behind = new Map<string, { readonly first: Row; readonly rows: Row[] }>()
  readonly #failing = new Map<string, number>()

  /** `drop` is told of a row that is not sent and may be offered again later. */
  constructor(send: (row: Row) => void, drop: (row: Row) => void) {
    this.#send = send
    this.#drop = drop
  }

  offer(row: Row): void {
    const { key, type } = row
    if (key !== null) {
      if (this.#failing.has(key)) {
        this.#drop(row)
        return
      }
      const line = this.#behind.get(key)
      if (line !== undefined) {
        line.rows.push(row)
        return
      }
      if (!this.#taken.has(type)) this.#behind.set(key, { first: row, rows: [] })
    }
    this.#send(row)
  }

  /** The broker has it. */
  sent(row: Row): void {
    this.#taken.add(row.type)
    for (const next of this.#leave(row)) this.offer(next)
  }

  /** The broker does not have it. Nothing of its key goes out until `settled`. */
  failed(row: Row): void {
    this.#taken.delete(row.type)
    if (row.key !== null) this.#failing.set(row.key, (this.#failing.get(row.key) ?? 0) + 1)
    for (const next of this.#leave(row)) this.#drop(next)
  }

  /** Its failure is written down, where it holds back the rest of its key. */
  settled({ key }: Row): void {
    if (key === null) return

    const count = (this.#failing.get(key) ?? 0) - 1
    if (count > 0) this.#failing.set(key, count)
    else this.#failing.delete(key)
  }

  #leave(row: Row): readonly Row[] {
    if (row.key === null) return []
    const line = this.#behind.get(row.key)
    if (line?.first !== row) return []

    this.#behind.delete(row.key)
    return line.rows
  }
}
