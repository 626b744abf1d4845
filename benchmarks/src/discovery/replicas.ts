import { fork } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** Servers in another process. */
export interface Replicas {
  readonly origins: readonly string[]
  close(): Promise<void>
}

/** From the folder of this source, or from that of the bundle. */
const PROGRAM = ['server.mjs', '../src/discovery/server.mjs']

/** One for each delay: how long it takes to answer, in ms. */
export async function replicas(...delays: readonly number[]): Promise<Replicas> {
  const here = dirname(fileURLToPath(import.meta.url))
  const program = PROGRAM.map((path) => join(here, path)).find((path) => existsSync(path)) ?? ''
  const child = fork(program, delays.map(String), { execArgv: [] })
  const [ports] = (await once(child, 'message')) as [number[]]

  return {
    origins: ports.map((port) => `http://127.0.0.1:${port}`),
    async close() {
      child.disconnect()
      await once(child, 'exit')
    },
  }
}
