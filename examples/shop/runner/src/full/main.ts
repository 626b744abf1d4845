// The shop of seven processes, as a process: reads the settings, starts, says where it is, and ends with the first
// Ctrl-C, everything it started before it.
import { SettingError } from '../settings.js'
import { StartError } from '../start-error.js'
import { readFullSettings } from './full-settings.js'
import { type FullShop, startFullShop } from './full-shop.js'

/** How long the seven have to stop, in milliseconds, before those that have not are killed. */
const patience = 20_000

/** What sends a Ctrl-C on to its child makes two of one; only a later one, after so many milliseconds, is impatience. */
const sameKeystroke = 1_000

const giveUp = new AbortController()
const hurry = new AbortController()

let shop: FullShop | undefined
let stoppedAt: number | undefined

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, stop)

try {
  shop = await startFullShop(readFullSettings(process.env), {
    say: (line) => console.log(line),
    log: (line) => console.error(line),
    signal: giveUp.signal,
    hurry: hurry.signal,
  })
  if (stoppedAt === undefined) {
    console.log(`shop ready on ${shop.url}`)
    if (shop.link !== undefined) console.log(`operations, for one browser: ${shop.link}`)
  } else await end(shop)
} catch (error) {
  if (giveUp.signal.aborted) process.exit(130)

  console.error(error instanceof SettingError || error instanceof StartError ? error.message : error)
  process.exit(1)
}

function stop(): void {
  if (stoppedAt !== undefined) {
    if (performance.now() - stoppedAt > sameKeystroke) hurry.abort()
    return
  }

  stoppedAt = performance.now()
  console.log('Stopping')
  setTimeout(() => hurry.abort(), patience).unref()
  if (shop === undefined) giveUp.abort(new Error('stopped while it started'))
  else void end(shop)
}

async function end(running: FullShop): Promise<void> {
  await running.stop()
  process.exit(0)
}
