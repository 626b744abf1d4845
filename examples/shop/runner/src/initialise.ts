// Makes the files of a new embedded PostgreSQL in the folder given as argument, and ends.
import { PGlite } from '@electric-sql/pglite'

const folder = process.argv[2]
if (folder === undefined) throw new Error('usage: initialise.js <folder>')

const embedded = await PGlite.create({ dataDir: folder })
await embedded.close()
