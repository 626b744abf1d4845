import { execFile } from 'node:child_process'
import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

const PACKAGE = fileURLToPath(new URL('../..', import.meta.url))

test('a missing peer is reported with its name and the command, and only when it is needed', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'msx-messaging-'))
  try {
    // The built package where nothing but its one dependency is installed.
    await cp(join(PACKAGE, 'dist'), join(folder, 'dist'), { recursive: true })
    await mkdir(join(folder, 'node_modules/@msx'), { recursive: true })
    await symlink(join(PACKAGE, '../retry'), join(folder, 'node_modules/@msx/retry'))
    await writeFile(
      join(folder, 'try.mjs'),
      `import { rabbitmq } from './dist/rabbitmq.js'
       const transport = rabbitmq({ url: 'amqp://127.0.0.1:1' })
       await transport.connect({ name: 'x' }).catch(({ code, message }) => console.log(code, message))`,
    )

    const { stdout } = await promisify(execFile)(process.execPath, [join(folder, 'try.mjs')])

    expect(stdout).toMatch(/^MSX_PEER_MISSING .*'amqplib'.*npm install amqplib/)
  } finally {
    await rm(folder, { recursive: true })
  }
})
