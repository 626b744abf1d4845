// One PostgreSQL inside this process, which services share: each with a role and a schema of its own.
//
// PGlite's own `query` makes six calls into WebAssembly for a statement, and its `transaction` four more; together with the
// role, a statement by itself would take twelve. All of it is one message of the wire protocol here, and one call:
//
//     BEGIN; SET LOCAL ROLE …  ·  Parse Bind Describe Execute  ·  COMMIT  ·  Sync
//
// What is in a transaction goes statement by statement, the first one together with its BEGIN. A statement is parsed and
// planned when it comes for the first time, which for the large ones of outbox and saga is most of what they cost.

import { type PGlite, parse, protocol } from '@electric-sql/pglite'
import type { Database, Sql } from './database.js'

/** The part of PGlite that is used here. */
export type Embedded = Pick<PGlite, 'execProtocol' | 'parsers' | 'runExclusive'>

/** An embedded PostgreSQL, which belongs to whoever made this of it: nobody else may ask it anything from then on. */
export interface EmbeddedPostgres {
  /**
   * A service's view of it: everything runs under the service's own role and schema, so that PostgreSQL itself refuses a
   * look into another service's tables.
   */
  database(role: string): Database
  /** Makes the role, its schema of the same name, and further schemas of its own. Safe to repeat. */
  provision(role: string, schemas?: readonly string[]): Promise<void>
}

interface Result<R> {
  readonly rows: R[]
  readonly command: string
}

const { serialize } = protocol

/**
 * After so many uses a statement is planned anew: nobody takes statistics here, after which a server would do it, and the
 * plan for a table of three rows is not the one for thirty thousand.
 */
const usesOfPlan = 500

/** More statements than these are not remembered; it takes texts that are made up as one goes to have so many. */
const mostStatements = 500

interface Prepared {
  readonly name: string
  /** How often it may still be used; 0: it has to be parsed. */
  left: number
}

export function embeddedPostgres(embedded: Embedded): EmbeddedPostgres {
  // There is one connection: whoever has it keeps it until the transaction ends, and the others wait in line.
  let last: Promise<unknown> = Promise.resolve()

  function inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = last.then(work)
    last = result.catch(() => undefined)
    return result
  }

  // By role and text: the same text means other tables to another role.
  const prepared = new Map<string, Prepared>()
  let names = 0

  /** Whatever is done to tables, no plan is kept that was made before. */
  function forgetPlans(): void {
    for (const one of prepared.values()) one.left = 0
  }

  /** Rejects as `work` does, after which the statement has to be parsed again: nobody knows how far it came. */
  async function asked<T>(
    role: string,
    text: string,
    work: (messages: Uint8Array[], name: string) => Promise<T>,
  ): Promise<T> {
    const key = `${role} ${text}`
    let known = prepared.get(key)
    if (known === undefined) {
      known = { name: prepared.size < mostStatements ? `s${++names}` : '', left: 0 }
      if (known.name !== '') prepared.set(key, known)
    }
    const { name } = known
    const parsing = known.left > 0 ? [] : [serialize.close({ type: 'S', name }), serialize.parse({ name, text })]
    known.left = known.left > 0 ? known.left - 1 : usesOfPlan
    try {
      return await work(parsing, name)
    } catch (error) {
      known.left = 0
      throw error
    }
  }

  /** The answer to the messages, without what comes before the `skipped` first ends of a query. */
  async function send(messages: readonly Uint8Array[], skipped = 0): Promise<Result<unknown>[]> {
    const { messages: answers } = await embedded.execProtocol(joined(messages))
    let from = 0
    for (let left = skipped; left > 0; left -= 1) {
      from = answers.findIndex(({ name }, index) => index >= from && name === 'readyForQuery') + 1
    }
    // Its results say which command they are of, which its types do not.
    return parse.parseResults(answers.slice(from), embedded.parsers) as unknown as Result<unknown>[]
  }

  /** Says the words of a script, one by one, as the role that is set. */
  const say = (script: string) => send([serialize.query(script)])

  function database(role: string): Database {
    const begin = serialize.query(`BEGIN; SET LOCAL ROLE ${quoted(role)}; SET LOCAL search_path TO ${quoted(role)}`)

    /** One statement by itself: all in one message. */
    const query: Database['query'] = (text, values = []) =>
      inTurn(async () => {
        try {
          return await asked(role, text, async (parsing, name) => {
            const messages = [begin, ...parsing, ...statement(name, values), ...commit, serialize.sync()]
            return (await send(messages, 1))[0] as never
          })
        } catch (error) {
          await say('ROLLBACK')
          throw error
        }
      })

    const transaction: Database['transaction'] = (run) =>
      inTurn(async () => {
        let state: 'new' | 'open' | 'over' = 'new'
        const ask = async (messages: readonly Uint8Array[]): Promise<Result<unknown>[]> => {
          if (state === 'over') throw new Error('this transaction is over')
          const isFirst = state === 'new'
          state = 'open'
          return isFirst ? send([begin, ...messages], 1) : send(messages)
        }
        const tx: Sql = {
          query: (text, values = []) =>
            asked(role, text, async (parsing, name) => {
              const messages = [...parsing, ...statement(name, values), serialize.sync()]
              return (await ask(messages))[0] as never
            }),
          async execute(script) {
            forgetPlans()
            await ask([serialize.query(script)])
          },
        }

        try {
          const result = await run(tx)
          if (isOpen()) {
            const [{ command } = { command: '' }] = await say('COMMIT')
            // The polite answer of PostgreSQL to whoever caught the error of a statement and went on.
            if (command === 'ROLLBACK') throw new Error('nothing was committed, because a statement had failed before')
          }
          return result
        } catch (error) {
          if (isOpen()) await say('ROLLBACK')
          throw error
        } finally {
          state = 'over'
        }

        function isOpen(): boolean {
          return state === 'open'
        }
      })

    return {
      transaction,
      query,
      execute: (script) => transaction((tx) => tx.execute(script)),
      pool: { query, transaction },
    }
  }

  return {
    database,
    async provision(role, schemas = []) {
      const statements = [role, ...schemas].map(
        (schema) => `CREATE SCHEMA IF NOT EXISTS ${quoted(schema)} AUTHORIZATION ${quoted(role)};`,
      )
      await inTurn(() =>
        say(`
          DO $$ BEGIN
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '${role}') THEN CREATE ROLE ${quoted(role)} NOLOGIN; END IF;
          END $$;
          ${statements.join('\n')}
        `),
      )
    },
  }
}

/** The messages of a statement that is parsed. What its parameters are is for PostgreSQL to find out, from their text. */
function statement(name: string, values: readonly unknown[]): Uint8Array[] {
  return [
    serialize.bind({ statement: name, values: values.map(asText) }),
    serialize.describe({ type: 'P' }),
    serialize.execute({}),
  ]
}

const commit = [serialize.parse({ text: 'COMMIT' }), serialize.bind({}), serialize.execute({})]

/** A value as PostgreSQL reads it, by the rules that the driver of the real server has. */
function asText(value: unknown): string | null {
  if (value === null || value === undefined) return null
  if (value instanceof Date) return value.toISOString()
  if (Array.isArray(value)) return `{${value.map(asElement).join(',')}}`
  return typeof value === 'object' ? JSON.stringify(value) : String(value)
}

function asElement(value: unknown): string {
  if (Array.isArray(value)) return asText(value) as string
  const text = asText(value)
  return text === null ? 'NULL' : `"${text.replace(/[\\"]/g, '\\$&')}"`
}

function joined(messages: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(messages.reduce((length, message) => length + message.length, 0))
  let at = 0
  for (const message of messages) {
    all.set(message, at)
    at += message.length
  }
  return all
}

/** Names of roles and schemas come from our own code; anything else is a mistake worth an error. */
function quoted(name: string): string {
  if (!/^[a-z][a-z0-9_]*$/.test(name))
    throw new TypeError(`'${name}' is not a name for a role or a schema (a-z, 0-9, _)`)
  return `"${name}"`
}
