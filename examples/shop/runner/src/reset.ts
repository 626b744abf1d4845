import { access, rm } from 'node:fs/promises'
import { lockFolder } from './lock.js'
import { readSettings } from './settings.js'

/** Drops the shop's data. Refused while a shop runs on them. */
export async function reset(): Promise<void> {
  const { dataDir } = readSettings(process.env)
  const there = await access(dataDir).then(
    () => true,
    () => false,
  )
  if (!there) {
    console.log(`there are no data in ${dataDir}`)
    return
  }

  try {
    await lockFolder(dataDir)
  } catch (error) {
    console.error(error instanceof Error ? error.message : error)
    process.exitCode = 1
    return
  }
  await rm(dataDir, { recursive: true })
  console.log(`dropped ${dataDir}`)
}
