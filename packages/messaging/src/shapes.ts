/** The part of a pg client, a pg pool or PGlite that asks questions. */
export interface Queryable {
  // biome-ignore lint/suspicious/noExplicitAny: rows are what the drivers say they are
  query(text: string, values?: unknown[]): Promise<{ rows: any[]; rowCount?: number | null }>
}

/** A `pg.Pool` as it is, PGlite as it is, or anything of their shape. */
export type Database = Queryable &
  (
    | { connect(): Promise<Queryable & { release(error?: Error | boolean): void }> }
    | { transaction<T>(run: (tx: Queryable) => Promise<T>): Promise<T> }
  )
