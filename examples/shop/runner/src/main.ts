// The embedded shop as a process: reads the settings, starts, says where it is, and ends with the first Ctrl-C.
import { resolve } from 'node:path'
import { UnreadableDataError } from './data.js'
import { FolderInUseError } from './lock.js'
import { readSettings, SettingError, type Settings } from './settings.js'
import { type Shop, startShop } from './shop.js'
import { StartError } from './start-error.js'

/** A stop that takes longer than this is cut short; the data are safe at any moment. */
const patience = 4_000

/** What the system says of a folder in which nothing can be made. */
const unwritable = new Set([
  'EACCES',
  'EPERM',
  'EROFS',
  'ENOENT',
  'ENOTDIR',
  'EEXIST',
  'ENAMETOOLONG',
  'ENOSPC',
  'EDQUOT',
])

/** What sends a Ctrl-C on to its child makes two of one; only a later one, after so many milliseconds, is impatience. */
const sameKeystroke = 1_000

let shop: Shop | undefined
let stoppedAt: number | undefined

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, stop)

try {
  const settings = readSettings(process.env)
  try {
    shop = await startShop(settings, { onFirstStart: () => console.log('First start: making the database') })
  } catch (error) {
    throw explained(error, settings)
  }
  if (stoppedAt === undefined) {
    console.log(`shop ready on ${shop.url}`)
    if (shop.link !== undefined) console.log(`operations, for one browser: ${shop.link}`)
  }
} catch (error) {
  console.error(isKnown(error) ? error.message : error)
  process.exit(1)
}

function isKnown(error: unknown): error is Error {
  return [SettingError, FolderInUseError, UnreadableDataError, StartError].some((kind) => error instanceof kind)
}

/** The failures that a person can do something about, told so. */
function explained(error: unknown, settings: Settings): unknown {
  const { code, path } = error as NodeJS.ErrnoException
  if (unwritable.has(code ?? '') && concerns(path, settings.dataDir)) {
    return new StartError(
      `the data folder ${settings.dataDir} cannot be written (${code}); set DATA_DIR to another folder`,
    )
  }
  return error
}

/** Whether the path is the folder's, or one on the way to it. */
function concerns(path: string | undefined, folder: string): boolean {
  return path !== undefined && (resolve(path).startsWith(resolve(folder)) || resolve(folder).startsWith(resolve(path)))
}

function stop(signal: NodeJS.Signals): void {
  if (stoppedAt !== undefined) {
    if (performance.now() - stoppedAt > sameKeystroke) process.exit(130)
    return
  }
  stoppedAt = performance.now()

  setTimeout(() => process.exit(1), patience).unref()
  if (shop === undefined) {
    // Still starting: there is nothing to finish, and a start cut short leaves nothing half-made.
    process.exit(130)
  }
  shop.stop().then(
    () => process.exit(0),
    (error: unknown) => {
      console.error(`the shop did not stop cleanly after ${signal}:`, error)
      process.exit(1)
    },
  )
}
