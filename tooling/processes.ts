import type { ChildProcess } from 'node:child_process'
import { join } from 'node:path'
import { build } from 'esbuild'

/** Makes one file of the `act` of a module and all that it needs, since Node 20 runs no TypeScript. */
export async function bundleActors(into: string, from: string, module: string): Promise<string> {
  const outfile = join(into, `${module}.cjs`)
  await build({
    stdin: { contents: `import { act } from './${module}.ts'\nact(JSON.parse(process.argv[2]))`, resolveDir: from },
    outfile,
    bundle: true,
    platform: 'node',
    format: 'cjs',
    target: 'node20',
    logLevel: 'error',
  })

  return outfile
}

/** As the kernel does it when memory is short. */
export async function kill(actor: ChildProcess): Promise<void> {
  if (actor.exitCode !== null || actor.signalCode !== null) return

  const gone = new Promise((resolve) => actor.once('exit', resolve))
  actor.kill('SIGKILL')
  await gone
}
