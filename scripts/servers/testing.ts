import { execFile } from 'node:child_process'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { readAddress } from './addresses.mjs'
import { probe } from './probes.mjs'
import { freePort } from './recipes.mjs'
import { readState } from './state.mjs'

/** A new folder that every user of the machine may enter, as servers do that run as another one. */
export function openFolder(prefix: string): string {
  const folder = mkdtempSync(join(tmpdir(), prefix))
  chmodSync(folder, 0o755)
  return folder
}

/** A folder of commands that stand in for the machine's own: put it first on the PATH. */
export function fakeCommands(scripts: Readonly<Record<string, string>>): string {
  const folder = openFolder('msx-commands-')
  for (const [name, script] of Object.entries(scripts)) {
    writeFileSync(join(folder, name), `#!/bin/sh\n${script}\n`)
    chmodSync(join(folder, name), 0o755)
  }
  return folder
}

const command = fileURLToPath(new URL('../services', import.meta.url))

type Name = 'rabbitmq' | 'postgres' | 'redis' | 'consul'

/** scripts/services on free ports and in a folder of its own: the machine's servers are neither used nor touched. */
export async function privateServices() {
  const state = openFolder('msx-services-')
  // Even where a Docker engine runs, the tests are about processes.
  const bin = fakeCommands({ docker: 'exit 1' })
  const env: NodeJS.ProcessEnv = {
    ...process.env,
    PATH: `${bin}:${process.env['PATH']}`,
    MSX_SERVICES_DIR: state,
    AMQP_URL: `amqp://127.0.0.1:${await freePort(0)}`,
    DATABASE_URL: `postgres://tester@127.0.0.1:${await freePort(0)}/things`,
    REDIS_URL: `redis://127.0.0.1:${await freePort(0)}`,
    CONSUL_HTTP_ADDR: `127.0.0.1:${await freePort(0)}`,
  }

  const run = (...args: string[]) =>
    new Promise<{ readonly code: number; readonly output: string }>((resolve) => {
      execFile(command, args, { env, timeout: 60_000 }, (error, stdout, stderr) => {
        resolve({ code: error === null ? 0 : Number(error.code), output: stdout + stderr })
      })
    })

  return {
    state,
    /** To be changed by a test that wants other addresses. */
    env,
    /** Runs the command. */
    run,
    ask: (name: Name, host = '127.0.0.1') => probe({ ...readAddress(name, env), host }),
    async dispose() {
      if (readState(state).length > 0) await run('down')
      for (const folder of [state, bin]) rmSync(folder, { recursive: true })
    },
  }
}
