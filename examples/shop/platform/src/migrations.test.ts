import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { PGlite } from '@electric-sql/pglite'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { Database } from './database.js'
import { type EmbeddedPostgres, embeddedPostgres } from './embedded.js'
import { applyMigrations } from './migrations.js'

let pglite: PGlite
let embedded: EmbeddedPostgres
let database: Database
let path: string
let folder: URL
let services = 0

beforeAll(async () => {
  pglite = await PGlite.create()
  embedded = embeddedPostgres(pglite)
})

afterAll(() => pglite.close())

beforeEach(async () => {
  const role = `service_${++services}`
  await embedded.provision(role)
  database = embedded.database(role)
  path = await mkdtemp(join(tmpdir(), 'migrations-'))
  folder = pathToFileURL(`${path}/`)
})

afterEach(() => rm(path, { recursive: true }))

const write = (name: string, sql: string): Promise<void> => writeFile(join(path, name), sql)

async function migrated(): Promise<string[]> {
  const { rows } = await database.query<{ name: string }>('SELECT name FROM migration ORDER BY name')
  return rows.map((row) => row.name)
}

describe('applyMigrations', () => {
  it('runs the files in the order of their names', async () => {
    await write('002_more.sql', "INSERT INTO word VALUES ('two')")
    await write('001_first.sql', "CREATE TABLE word (text text); INSERT INTO word VALUES ('one')")

    await applyMigrations(database, folder)

    expect((await database.query('SELECT text FROM word')).rows).toEqual([{ text: 'one' }, { text: 'two' }])
    expect(await migrated()).toEqual(['001_first.sql', '002_more.sql'])
  })

  it('runs each file once', async () => {
    await write('001_first.sql', 'CREATE TABLE word (text text)')
    await applyMigrations(database, folder)
    await write('002_more.sql', "INSERT INTO word VALUES ('two')")

    await applyMigrations(database, folder)
    await applyMigrations(database, folder)

    expect((await database.query('SELECT text FROM word')).rows).toEqual([{ text: 'two' }])
  })

  it('leaves everything as it was when one file fails', async () => {
    await write('001_first.sql', 'CREATE TABLE word (text text)')
    await write('002_wrong.sql', 'CREATE TABLE (')

    await expect(applyMigrations(database, folder)).rejects.toMatchObject({ code: '42601' })

    const { rows } = await database.query("SELECT to_regclass('word') AS word, to_regclass('migration') AS migration")
    expect(rows).toEqual([{ word: null, migration: null }])
  })

  it('lets two that start together do the work once', async () => {
    await write('001_first.sql', "CREATE TABLE word (text text); INSERT INTO word VALUES ('one')")

    await Promise.all([applyMigrations(database, folder), applyMigrations(database, folder)])

    expect((await database.query('SELECT text FROM word')).rows).toHaveLength(1)
  })

  it('reads nothing but .sql files', async () => {
    await write('README.md', 'not SQL')
    await write('001_first.sql', 'CREATE TABLE word (text text)')

    await applyMigrations(database, folder)

    expect(await migrated()).toEqual(['001_first.sql'])
  })
})
