import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { inject } from 'vitest'

const main = fileURLToPath(new URL('../../runner/dist/main.js', import.meta.url))

/** A shop in a process of its own, as `npm start` runs it. */
export interface ShopProcess {
  readonly url: string
  readonly pid: number
  readonly output: () => string
  /** Ctrl-C, or another signal; resolves with the exit code. */
  interrupt(signal?: NodeJS.Signals): Promise<number | null>
  /** `kill -9`: no code of the shop runs after it. */
  kill(): Promise<void>
}

export type Environment = Readonly<Record<string, string>>

export async function startShop(dataDir: string, environment: Environment = {}): Promise<ShopProcess> {
  const { child, output } = run(dataDir, environment)
  const exit = once(child, 'exit')
  const url = await Promise.race([
    ready(child, output),
    exit.then(([code]) => Promise.reject(new Error(`the shop ended with ${code} before it was ready:\n${output()}`))),
  ])

  return {
    url,
    pid: child.pid as number,
    output,
    async interrupt(signal = 'SIGINT') {
      child.kill(signal)
      return (await exit)[0] as number | null
    },
    async kill() {
      child.kill('SIGKILL')
      await exit
    },
  }
}

/** Starts a shop that is expected to refuse; resolves with what it said and its exit code. */
export async function refusedStart(dataDir: string, environment: Environment = {}) {
  const { child, output } = run(dataDir, environment)
  const [code] = (await once(child, 'exit')) as [number | null]
  return { code, output: output() }
}

export async function temporaryFolder(): Promise<{ path: string; remove(): Promise<void> }> {
  const path = await mkdtemp(join(tmpdir(), 'shop-e2e-'))
  return { path, remove: () => rm(path, { recursive: true, force: true }) }
}

/** A folder with the data of a shop that has sold nothing yet. */
export async function freshFolder(): Promise<{ path: string; remove(): Promise<void> }> {
  const folder = await temporaryFolder()
  await cp(inject('freshData'), folder.path, { recursive: true })
  return folder
}

function run(dataDir: string, environment: Environment) {
  const child = spawn(process.execPath, [main], {
    env: {
      ...process.env,
      RATE_LIMIT: '10000',
      SIGN_IN_LIMIT: '10000',
      ...environment,
      PORT: environment['PORT'] ?? '0',
      DATA_DIR: dataDir,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let text = ''
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk
  })
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk
  })

  return { child, output: () => text }
}

function ready(child: ChildProcess, output: () => string): Promise<string> {
  return new Promise((resolve) => {
    child.stdout?.on('data', () => {
      const url = /shop ready on (\S+)/.exec(output())?.[1]
      if (url !== undefined) resolve(url)
    })
  })
}
