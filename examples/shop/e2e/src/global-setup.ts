import type { TestProject } from 'vitest/node'
import { startShop, temporaryFolder } from './shop-process.js'

declare module 'vitest' {
  export interface ProvidedContext {
    /** The data of a shop that was started once and has sold nothing yet. */
    readonly freshData: string
  }
}

/** Making a database takes seconds of both cores: it is made once here, and each test copies it. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const folder = await temporaryFolder()
  const shop = await startShop(folder.path)
  await shop.interrupt()
  project.provide('freshData', folder.path)

  return folder.remove
}
