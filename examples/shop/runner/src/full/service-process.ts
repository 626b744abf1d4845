// One service of the shop as a process of its own: `node service.js order-service`, settings by the environment. A parent
// that holds a channel to it is told where it answers, and its end is the end of the service, however it came.
import { SettingError } from '../settings.js'
import { type RunningService, runService } from './run-service.js'
import { readServiceSettings } from './service-settings.js'

/** A stop that takes longer than this, in milliseconds, is cut short. */
const patience = 7_000

let service: RunningService | undefined
let stopping = false

process.on('SIGINT', stop)
process.on('SIGTERM', stop)
process.on('disconnect', stop)

try {
  service = await runService(readServiceSettings(process.argv[2], process.env))
  if (stopping) end()
  else process.send?.({ url: service.url, http: service.http })
} catch (error) {
  console.error(error instanceof SettingError ? error.message : error)
  process.exit(1)
}

function stop(): void {
  if (stopping) return
  stopping = true

  setTimeout(() => process.exit(1), patience).unref()
  // A start under way ends first, since only then is it known what there is to stop.
  if (service !== undefined) end()
}

function end(): void {
  service?.stop().then(
    () => process.exit(0),
    () => process.exit(1),
  )
}
