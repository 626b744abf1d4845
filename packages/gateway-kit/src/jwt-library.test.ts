import { execFile } from 'node:child_process'
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, onTestFinished, test } from 'vitest'

const packageFolder = fileURLToPath(new URL('..', import.meta.url))

/** A folder where this package is installed, as it is built, and nothing else is. */
async function installedAlone(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'msx-jwt-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  const installed = join(folder, 'node_modules/@msx/gateway-kit')
  await cp(join(packageFolder, 'dist'), join(installed, 'dist'), { recursive: true })
  await cp(join(packageFolder, 'package.json'), join(installed, 'package.json'))

  return folder
}

const program = `
import { jwtVerifier, remoteJwks } from '@msx/gateway-kit/jwt'

const options = { issuer: 'a', audience: 'b', algorithms: ['ES256'] }
const answers = { fetch: async () => new Response('{"keys":[]}') }
const jwks = remoteJwks('http://issuer/jwks', answers)
for (const refused of [() => jwtVerifier({ ...options, jwks })('token'), () => jwks({ alg: 'ES256' })]) {
  await refused().catch(({ code, status, message }) => console.log(code, status, message))
}
`

test('without jose, names the package and the command that installs it', async () => {
  const folder = await installedAlone()
  await writeFile(join(folder, 'program.mjs'), program)

  const { stdout, stderr } = await promisify(execFile)(process.execPath, ['program.mjs'], { cwd: folder })

  const message = '@msx/gateway-kit/jwt needs the package jose, which is not installed: npm install jose'
  expect(stdout.trim().split('\n')).toEqual(Array(2).fill(`MSX_AUTH_PEER_MISSING 503 ${message}`))
  expect(stderr).toContain(`MsxPeerWarning: ${message}`)
})
