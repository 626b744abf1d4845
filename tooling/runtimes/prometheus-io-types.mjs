import { execFile } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const root = fileURLToPath(new URL('../..', import.meta.url))

const source = `
import client from '@prometheus-io/client'
import { prometheus as ofCircuits } from '@msx/circuit-breaker/prometheus'
import { prometheus as ofRetries } from '@msx/retry/prometheus'

ofRetries({ client, registry: client.register })
ofCircuits({ client, registry: client.register })
// @ts-expect-error A check that lets everything pass would be none.
ofRetries({ client, registry: 5 })
`

/**
 * What is wrong with the types of the built packages together with the client, if anything is.
 *
 * @param {string} modules  The `node_modules` that has the client.
 */
export async function prometheusIoTypes(modules) {
  // Beside those modules, where both the client and the packages are found by name.
  const folder = join(modules, '..', 'types')
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'both.mts'), source)
  const config = {
    extends: join(root, 'tsconfig.base.json'),
    compilerOptions: { typeRoots: [join(root, 'node_modules/@types')] },
    files: ['both.mts'],
  }
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(config))

  const tsc = join(root, 'node_modules/typescript/bin/tsc')
  return promisify(execFile)(process.execPath, [tsc, '-p', folder]).then(
    () => undefined,
    (error) => error.stdout || error.message,
  )
}
