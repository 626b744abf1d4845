import { cp } from 'node:fs/promises'
import type { TestProject } from 'vitest/node'
import { operatorToken } from './operator.js'
import { startShop, temporaryFolder } from './shop-process.js'

declare module 'vitest' {
  export interface ProvidedContext {
    /** The data of a shop that was started once and has sold nothing yet. */
    readonly freshData: string
    /** Where a shop answers that several files use: none of them stops it, and each leaves it mended. */
    readonly sharedShop: string
  }
}

/**
 * Making a database takes seconds of both cores: it is made once here, and each test that starts a shop copies it. What
 * needs no shop of its own uses one that is started here.
 */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const fresh = await temporaryFolder()
  const first = await startShop(fresh.path)
  await first.interrupt()
  project.provide('freshData', fresh.path)

  const used = await temporaryFolder()
  await cp(fresh.path, used.path, { recursive: true })
  const settings = { OPS_TOKEN: operatorToken, UNDO_ATTEMPTS: '2', RESERVATION_TTL: '1000' }
  const shared = await startShop(used.path, settings)
  project.provide('sharedShop', shared.url)

  return async () => {
    await shared.interrupt()
    await Promise.all([fresh.remove(), used.remove()])
  }
}
