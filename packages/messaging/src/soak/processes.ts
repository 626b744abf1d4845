import { type ChildProcess, spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { bundleActors as bundle } from '../../../../tooling/processes.js'
import type { Role } from './actors.js'
import type { OutboxRole } from './outbox-actors.js'

export { kill } from '../../../../tooling/kill.js'

export function bundleActors(folder: string, module = 'actors'): Promise<string> {
  return bundle(folder, fileURLToPath(new URL('.', import.meta.url)), module)
}

export function startActor(script: string, role: Role | OutboxRole): ChildProcess {
  return spawn(process.execPath, ['--expose-gc', script, JSON.stringify(role)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
}
