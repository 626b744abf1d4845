import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { runLoad } from './processes.js'
import { BODY, PATH } from './work.js'

/** What came of one turn of load. */
export interface Turn {
  readonly requests: number
  /** Nanoseconds per request: the time it took over the requests that were answered. */
  readonly perRequest: number
  /** Microseconds. */
  readonly p50: number
  readonly p99: number
}

const CONNECTIONS = 50

/** wrk tells in text; as Lua it can be told to write numbers. */
const REPORT = `
done = function(summary, latency)
  io.write(string.format('{"requests":%d,"duration":%d,"bytes":%d,"bad":%d,"late":%d,"p50":%d,"p99":%d}', summary.requests,
    summary.duration, summary.bytes, summary.errors.connect + summary.errors.read + summary.errors.write
    + summary.errors.status, summary.errors.timeout, latency:percentile(50), latency:percentile(99)))
end
`

/**
 * Fifty connections of wrk ask as fast as they are answered, for so many milliseconds. Who has just started may be late
 * with an answer on a busy machine, and says so by `cold`.
 */
export async function fullLoad(
  port: number,
  token: string | undefined,
  ms: number,
  { cold = false }: { readonly cold?: boolean } = {},
): Promise<Turn> {
  const folder = mkdtempSync(join(tmpdir(), 'msx-wrk-'))
  const script = join(folder, 'report.lua')
  writeFileSync(script, REPORT)
  try {
    const text = await runLoad('wrk', [
      ...['-t', '1', '-c', String(CONNECTIONS), '-d', `${Math.max(1, Math.round(ms / 1_000))}s`, '-s', script],
      ...(token === undefined ? [] : ['-H', `Authorization: Bearer ${token}`]),
      `http://127.0.0.1:${port}${PATH}`,
    ])
    const told = JSON.parse(text.slice(text.lastIndexOf('{"requests"'))) as Record<
      'requests' | 'duration' | 'bytes' | 'bad' | 'late' | 'p50' | 'p99',
      number
    >
    if (told.bad > 0 || (told.late > 0 && !cold) || told.requests === 0 || told.bytes < told.requests * BODY.length) {
      throw new Error(`not all requests were answered: ${JSON.stringify(told)}`)
    }
    return {
      requests: told.requests,
      perRequest: (told.duration * 1_000) / told.requests,
      p50: told.p50,
      p99: told.p99,
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** Asks some times and holds every answer, to the byte, against what it must be. */
export async function validate(port: number, token: string | undefined): Promise<void> {
  const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` }
  for (let turn = 0; turn < 20; turn += 1) {
    const response = await fetch(`http://127.0.0.1:${port}${PATH}`, { headers })
    const text = await response.text()
    if (response.status !== 200 || text !== BODY || response.headers.get('content-type') !== 'application/json') {
      throw new Error(`port ${port} answered ${response.status} with ${text.slice(0, 200)}`)
    }
  }
}
