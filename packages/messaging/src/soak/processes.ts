import { type ChildProcess, spawn } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import type { Role } from './actors.js'
import type { OutboxRole } from './outbox-actors.js'

/** Makes one file of the actors in a module and all they need, since Node 20 runs no TypeScript. */
export async function bundleActors(folder: string, module = 'actors'): Promise<string> {
  const outfile = join(folder, 'actors.cjs')
  await build({
    stdin: {
      contents: `import { act } from './${module}.ts'\nact(JSON.parse(process.argv[2]))`,
      resolveDir: fileURLToPath(new URL('.', import.meta.url)),
    },
    outfile,
    bundle: true,
    platform: 'node',
    format: 'cjs',
    target: 'node20',
    logLevel: 'error',
  })

  return outfile
}

export function startActor(script: string, role: Role | OutboxRole): ChildProcess {
  return spawn(process.execPath, ['--expose-gc', script, JSON.stringify(role)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
}

/** As the kernel does it when memory is short. */
export async function kill(actor: ChildProcess): Promise<void> {
  if (actor.exitCode !== null || actor.signalCode !== null) return

  const gone = new Promise((resolve) => actor.once('exit', resolve))
  actor.kill('SIGKILL')
  await gone
}
