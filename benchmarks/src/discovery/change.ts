import { createDiscovery, type EndpointInit, type SourceSink } from '@msx/discovery'
import { type Benchmark, compare, type Subject } from '../harness/index.js'

const ENDPOINTS = 10_000

/** ns. */
const LIMIT = 10e6

/** A source reports ten thousand endpoints, one of which has changed: new objects each time, as they come from the wire. */
export const change: Benchmark = {
  name: 'change',
  async *run(effort) {
    const bare: Subject = { name: 'JSON.parse', run: async (calls) => repeat(calls, parse) }
    const { ours, close } = service()
    const title = `One of ${ENDPOINTS.toLocaleString('en')} endpoints changes`
    const { rows, ...rest } = await compare(
      { title, stopwatch: 'cpu', bare, ours, peers: [] },
      { ...effort, slice: 1, passes: 1 },
    )
    await close()

    yield {
      ...rest,
      rows: rows.map((row) => {
        if (row.added === undefined) return row
        const reached = row.added.median <= LIMIT
        return { ...row, target: { of: 'amount', limit: LIMIT, kind: 'target', reached } as const }
      }),
    }
  },
}

/** Two reports that differ in one endpoint. */
const [OLD, NEW] = ['old', 'new'].map((version) =>
  JSON.stringify(
    Array.from({ length: ENDPOINTS }, (_, index) => ({
      id: `users-${index}`,
      host: `10.0.${index >> 8}.${index & 255}`,
      port: 3_000,
      tags: ['http', 'v2'],
      meta: { version: index === ENDPOINTS / 2 ? version : 'old' },
    })),
  ),
) as [string, string]

let turn = 0

function parse(): EndpointInit[] {
  turn++
  return JSON.parse(turn % 2 === 0 ? OLD : NEW) as EndpointInit[]
}

function service(): { ours: Subject; close(): Promise<void> } {
  let sink: SourceSink | undefined
  const discovery = createDiscovery({
    source: {
      watch(_, given) {
        sink = given
      },
    },
  })
  const users = discovery.service('users')
  let last: string | undefined

  return {
    ours: {
      name: '@msx/discovery',
      async run(calls) {
        repeat(calls, () => {
          const report = parse()
          const { version } = users.snapshot
          sink?.update(report)
          const changed = report[ENDPOINTS / 2]?.meta?.['version'] !== last
          if (users.snapshot.version - version !== Number(changed)) throw new Error('A change was not seen')
          last = report[ENDPOINTS / 2]?.meta?.['version']
        })
      },
    },
    close: () => discovery.close(),
  }
}

function repeat(times: number, work: () => unknown): void {
  for (let i = 0; i < times; i++) work()
}
