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
