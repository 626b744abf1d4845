import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'

// A checkout with one package, and a `turbo` that does what the test wrote into it.
let checkout: string

beforeEach(async () => {
  checkout = await mkdtemp(join(tmpdir(), 'msx-prepare-'))
  for (const folder of [
    'scripts',
    'packages/one/src',
    'packages/one/dist',
    'examples',
    'tooling',
    'node_modules/.bin',
  ]) {
    await mkdir(join(checkout, folder), { recursive: true })
  }
  await mkdir(join(checkout, 'node_modules/.pnpm'))
  for (const file of ['pnpm-lock.yaml', 'node_modules/.pnpm/lock.yaml', 'tsconfig.base.json', 'turbo.json']) {
    await writeFile(join(checkout, file), '')
  }
  await copyFile(fileURLToPath(new URL('./prepare.mjs', import.meta.url)), join(checkout, 'scripts/prepare.mjs'))
  await writeFile(
    join(checkout, 'scripts/go.mjs'),
    `import { build, checkNode, install } from './prepare.mjs'
     checkNode(); await install(); await build(); console.log('ready'); ${stayAlive}`,
  )
  await source('good')
  await turbo('echo built >>"$0.log"')
})

afterEach(() => rm(checkout, { recursive: true }))

const stayAlive = 'if (process.env.STAY) setInterval(() => {}, 1_000)'

const source = (text: string) => writeFile(join(checkout, 'packages/one/src/index.ts'), text)
const builds = async () =>
  (await readFile(join(checkout, 'node_modules/.bin/turbo.log'), 'utf8')).match(/built/g)?.length

async function turbo(script: string): Promise<void> {
  const file = join(checkout, 'node_modules/.bin/turbo')
  await writeFile(file, `#!/bin/sh\n${script}\n`)
  await chmod(file, 0o755)
}

function start(environment: Record<string, string> = {}): ChildProcess {
  return spawn(process.execPath, ['scripts/go.mjs'], { cwd: checkout, env: { ...process.env, ...environment } })
}

async function ended(child: ChildProcess): Promise<unknown> {
  return (await once(child, 'exit'))[0]
}

test('builds once, and again when a source has changed', async () => {
  await ended(start())
  await ended(start())
  expect(await builds()).toBe(1)

  await source('better')
  await ended(start())
  expect(await builds()).toBe(2)
})

test('builds again after a build that failed, though the sources are again what they were before it', async () => {
  await ended(start())
  await source('bad')
  await turbo('exit 1')
  expect(await ended(start())).toBe(1)

  await source('good')
  await turbo('echo built >>"$0.log"')
  await ended(start())

  expect(await builds()).toBe(2)
})

test('ends what it runs with itself, and says nothing of a failure', async () => {
  await turbo('echo "at work" && exec sleep 60')
  const child = start()
  let output = ''
  child.stdout?.on('data', (chunk) => {
    output += chunk
  })
  child.stderr?.on('data', (chunk) => {
    output += chunk
  })
  await expect.poll(() => output).toContain('at work')

  child.kill('SIGTERM')

  expect(await ended(child)).toBe(143)
  expect(output).not.toContain('failed')
})

test.skipIf(process.platform === 'win32')('does not outlive the npm that started it', async () => {
  // As npm does it: a shell between the two, which ends without telling its child.
  const shell = spawn('sh', ['-c', `"${process.execPath}" scripts/go.mjs & echo "pid $!"; wait`], {
    cwd: checkout,
    env: { ...process.env, STAY: '1', npm_lifecycle_event: 'start' },
  })
  let output = ''
  shell.stdout.on('data', (chunk) => {
    output += chunk
  })
  await expect.poll(() => output, { timeout: 10_000 }).toContain('ready')
  const pid = Number(/pid (\d+)/.exec(output)?.[1])

  shell.kill('SIGTERM')

  await expect.poll(() => isAlive(pid), { timeout: 5_000 }).toBe(false)
})

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}
