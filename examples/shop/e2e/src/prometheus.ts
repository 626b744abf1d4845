import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { temporaryFolder } from './shop-process.js'

/** A real Prometheus that scrapes what it is told to, once a second. */
export interface Prometheus {
  /** The labels and values that a query answers with now. */
  query(expression: string): Promise<{ readonly metric: Record<string, string>; readonly value: number }[]>
  stop(): Promise<void>
}

const unpacked = fileURLToPath(new URL('../../../../.cache/deployment/usr/bin/prometheus', import.meta.url))
const dashboards = fileURLToPath(new URL('../../deploy/grafana/dashboards/', import.meta.url))

/** Where the program is; undefined when `scripts/deployment/tools.mjs` has not fetched it and nobody has installed it. */
export function findPrometheus(): string | undefined {
  const onPath = (process.env['PATH'] ?? '').split(delimiter).map((folder) => join(folder, 'prometheus'))
  return [unpacked, ...onPath].find((path) => existsSync(path))
}

export async function startPrometheus(
  program: string,
  targets: readonly { readonly service: string; readonly address: string }[],
): Promise<Prometheus> {
  const folder = await temporaryFolder()
  const groups = targets.map(({ service, address }) => ({ targets: [address], labels: { service } }))
  const config = {
    global: { scrape_interval: '1s' },
    scrape_configs: [{ job_name: 'shop', static_configs: groups }],
  }
  const file = join(folder.path, 'prometheus.json')
  await writeFile(file, JSON.stringify(config))
  const address = `127.0.0.1:${await freePort()}`
  const args = [`--config.file=${file}`, `--storage.tsdb.path=${folder.path}/data`, `--web.listen-address=${address}`]
  const child = spawn(program, args, { stdio: 'ignore' })
  const exit = once(child, 'exit')

  return {
    async query(expression) {
      const response = await fetch(`http://${address}/api/v1/query?query=${encodeURIComponent(expression)}`).catch(
        () => undefined,
      )
      if (response === undefined || response.status === 503) return []
      const { status, error, data } = (await response.json()) as Answer
      if (status !== 'success') throw new Error(`${expression}: ${error}`)
      return data.result.map(({ metric, value }) => ({ metric, value: Number(value[1]) }))
    },
    async stop() {
      child.kill('SIGTERM')
      await exit
      await folder.remove()
    },
  }
}

interface Answer {
  readonly status: string
  readonly error?: string
  readonly data: { readonly result: { readonly metric: Record<string, string>; readonly value: [number, string] }[] }
}

/** Every query of every panel of every dashboard. */
export async function dashboardQueries(): Promise<string[]> {
  const files = (await readdir(dashboards)).filter((name) => name.endsWith('.json'))
  const boards = await Promise.all(files.map(async (name) => JSON.parse(await readFile(dashboards + name, 'utf8'))))
  return (boards as Board[]).flatMap(({ panels }) => panels.flatMap((panel) => panel.targets.map(({ expr }) => expr)))
}

interface Board {
  readonly panels: readonly { readonly targets: readonly { readonly expr: string }[] }[]
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  return typeof address === 'object' && address !== null ? address.port : 0
}
