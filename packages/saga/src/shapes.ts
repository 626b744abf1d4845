/** Monotonic milliseconds; `after` returns its cancel, and without it real timers are used. */
export interface Clock {
  now(): number
  after?(ms: number, run: () => void): () => void
}

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

/** How an attempt ended, in the words of @msx/retry. */
export type Outcome = { ok: true; value: unknown } | { ok: false; error: unknown }

/** The wait before retry number `retry` (from 0), in milliseconds: any back-off of @msx/retry. */
export type Backoff = (retry: number, previous: number, random: () => number) => number

export type Prettify<T> = { [K in keyof T]: T[K] } & {}

/** What JSON gives back. Results and input have this type on the first run too, not only after a recovery. */
export type Stored<T> = T extends { toJSON(): infer J }
  ? Stored<J>
  : T extends string | number | boolean | null
    ? T
    : // biome-ignore lint/suspicious/noConfusingVoidType: a step that returns nothing has a result of undefined
      T extends undefined | void
      ? undefined
      : T extends bigint | symbol | ((...args: never[]) => unknown)
        ? never
        : T extends readonly unknown[]
          ? { [K in keyof T]: Stored<T[K]> }
          : T extends object
            ? { [K in keyof T as T[K] extends symbol | ((...args: never[]) => unknown) ? never : K]: Stored<T[K]> }
            : T
