import { execFile } from 'node:child_process'
import { cp, mkdtemp, realpath, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, onTestFinished, test } from 'vitest'
import { loadLibraries } from './grpc/libraries.js'

const packageFolder = fileURLToPath(new URL('..', import.meta.url))

const program = `
import { isGrpcError, transcode } from '@msx/gateway-kit/grpc'

try {
  transcode({ proto: 'a.proto', service: 'A', address: '127.0.0.1:1' })
} catch (error) {
  console.log(isGrpcError(error), error.code, error.message)
}
`

test('without grpc-js, names the package and the command that installs it', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'msx-grpc-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  const installed = join(folder, 'node_modules/@msx/gateway-kit')
  await cp(join(packageFolder, 'dist'), join(installed, 'dist'), { recursive: true })
  await cp(join(packageFolder, 'package.json'), join(installed, 'package.json'))
  // What the package depends on is always there.
  await symlink(await realpath(join(packageFolder, 'node_modules/@msx/retry')), join(folder, 'node_modules/@msx/retry'))
  await writeFile(join(folder, 'program.mjs'), program)

  // The runner of the tests sets NODE_PATH, by which everything would be found everywhere.
  const env = { ...process.env, NODE_PATH: '' }
  const { stdout } = await promisify(execFile)(process.execPath, ['program.mjs'], { cwd: folder, env })

  const message = '@msx/gateway-kit/grpc needs the package @grpc/grpc-js, which is not installed'
  expect(stdout).toBe(`true MSX_GRPC_PEER_MISSING ${message}: npm install @grpc/grpc-js\n`)
})

test('there is one package to install: what reads a proto comes along', () => {
  expect(loadLibraries().protobuf.Root).toBeTypeOf('function')
})
