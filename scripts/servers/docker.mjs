// Servers in containers, one project of Docker Compose for each, so that each can be started and stopped alone.

import { spawn, spawnSync } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { tail } from './debian.mjs'
import { Failure } from './errors.mjs'

const composeFile = fileURLToPath(new URL('compose.yaml', import.meta.url))

/** Whether an engine answers, not only the client, and knows Compose. */
export function dockerRuns() {
  const works = (...args) => spawnSync('docker', args, { timeout: 10_000, stdio: 'ignore' }).status === 0
  return works('info') && works('compose', 'version')
}

/** @param {{ name: string, port: number }} server */
export const projectOf = ({ name, port }) => `msx-${name}-${port}`

/**
 * @param {import('./addresses.mjs').Server} server
 * @param {string} log
 */
export async function startContainer(server, log) {
  const args = ['--project-name', projectOf(server), 'up', '--detach', '--wait', server.name]
  if ((await compose(args, environment(server), log)) !== 0) {
    throw new Failure(`Docker Compose could not start ${server.title}:\n${tail(log)}`, `See ${log}.`)
  }
}

/**
 * Removes the container; its data stay in their volume.
 *
 * @param {{ project: string }} record
 * @param {string} log
 */
export async function stopContainer({ project }, log) {
  if ((await compose(['--project-name', project, 'down'], { MSX_PORT: '0' }, log)) !== 0) {
    throw new Failure(
      `Docker Compose could not stop ${project}:\n${tail(log)}`,
      `Is the Docker engine running? See ${log}, then run \`scripts/services down\` again.`,
    )
  }
}

/** What compose.yaml asks for. */
function environment({ port, user, password, database }) {
  return { MSX_PORT: String(port), MSX_USER: user, MSX_PASSWORD: password, MSX_DATABASE: database }
}

/** @returns {Promise<number | null>} */
function compose(args, env, log) {
  const output = openSync(log, 'a')
  return new Promise((resolve, reject) => {
    const child = spawn('docker', ['compose', '--file', composeFile, ...args], {
      stdio: ['ignore', output, output],
      env: { ...process.env, ...env },
    })
    child.on('error', reject)
    child.on('exit', resolve)
  }).finally(() => closeSync(output))
}
