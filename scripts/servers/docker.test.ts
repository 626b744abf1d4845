import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, test, vi } from 'vitest'
import { readAddress, serverNames } from './addresses.mjs'
import { dockerRuns, startContainer, stopContainer } from './docker.mjs'
import { fakeCommands } from './testing.js'

const folders: string[] = []
afterEach(() => {
  vi.unstubAllEnvs()
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true })
})

/** A `docker` that does as the script says, and a log for what it prints. */
function fakeDocker(script: string): string {
  const bin = fakeCommands({ docker: script })
  folders.push(bin)
  vi.stubEnv('PATH', `${bin}:${process.env['PATH']}`)
  return join(bin, 'log')
}

test.each([
  ['an engine and Compose', 'exit 0', true],
  ['a client without an engine', '[ "$1" != info ]', false],
  ['an engine without Compose', '[ "$1" != compose ]', false],
])('%s: %#', (_, script, runs) => {
  fakeDocker(script)

  expect(dockerRuns()).toBe(runs)
})

test('each server is a project of its own, at the port of its address', async () => {
  const log = fakeDocker('echo "$@ | $MSX_PORT $MSX_USER $MSX_DATABASE"')
  const postgres = readAddress('postgres', { DATABASE_URL: 'postgres://shop@127.0.0.1:5500/orders' })

  await startContainer(postgres, log)
  await stopContainer({ project: 'msx-postgres-5500' }, log)

  const [up, down] = readFileSync(log, 'utf8').trim().split('\n')
  expect(up).toMatch(/compose\.yaml --project-name msx-postgres-5500 up --detach --wait postgres \| 5500 shop orders$/)
  expect(down).toMatch(/compose\.yaml --project-name msx-postgres-5500 down \|/)
})

test('a Compose that fails is an error with its last words', async () => {
  const log = fakeDocker('echo "no such image"; exit 1')

  await expect(startContainer(readAddress('redis', {}), log)).rejects.toThrow('| no such image')
})

test('every container is reachable from this machine only', () => {
  const compose = readFileSync(new URL('compose.yaml', import.meta.url), 'utf8')

  expect([...compose.matchAll(/^ {2}(\w+):\n {4}image: \S+:[\d.]+$/gm)].map(([, name]) => name)).toEqual(serverNames)
  const ports = [...compose.matchAll(/^ {4}ports: (.*)$/gm)].map(([, port]) => port)
  expect(ports).toHaveLength(serverNames.length - 1)
  // Consul is on the machine's own network, and told to listen on loopback.
  expect(compose).toMatch(/-bind,\s+127\.0\.0\.1,\s+-client,\s+127\.0\.0\.1,/)
  expect(compose).not.toContain('0.0.0.0')
  for (const port of ports) expect(port).toMatch(/^\["127\.0\.0\.1:\$\{MSX_PORT:\?[^}]*\}:\d+"\]$/)
})
