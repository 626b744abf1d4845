// A table of the servers: where, whether they answer, and who started them.

import { readAddress } from './addresses.mjs'
import { probe } from './probes.mjs'
import { isRunning, portHolder } from './processes.mjs'
import { mayRun, readState } from './state.mjs'

/**
 * @typedef {object} Row
 * @property {string} server
 * @property {string} address
 * @property {string} answers
 * @property {string} version
 * @property {string} startedBy
 * @property {boolean} isUp
 */

/**
 * The servers asked for, and those of the same names that were started at other addresses.
 *
 * @param {readonly import('./addresses.mjs').Server[]} servers
 * @param {string} state
 * @returns {Promise<Row[]>}
 */
export async function readStatus(servers, state) {
  const records = readState(state).filter(mayRun)
  const isExpected = (record) => servers.some((server) => server.name === record.server && server.port === record.port)
  const elsewhere = records
    .filter((record) => servers.some((server) => server.name === record.server) && !isExpected(record))
    .map((record) => atOtherPort(servers, record))

  return Promise.all([...servers, ...elsewhere].map((server) => rowOf(server, records)))
}

function atOtherPort(servers, { server: name, port }) {
  const server = servers.find((candidate) => candidate.name === name) ?? readAddress(name, {})
  return { ...server, host: '127.0.0.1', port, tls: false, loopback: true, label: `127.0.0.1:${port}` }
}

async function rowOf(server, records) {
  const finding = await probe(server)
  return {
    server: server.title,
    address: server.label,
    answers: finding.state === 'answers' ? 'yes' : `${wording[finding.state]}: ${finding.why}`,
    version: finding.state === 'answers' ? (finding.version ?? '?') : '',
    startedBy: whoStarted(server, finding, records),
    isUp: finding.state === 'answers',
  }
}

const wording = { starting: 'not yet', refuses: 'refuses', silent: 'no', foreign: 'not by this server' }

function whoStarted(server, finding, records) {
  const record = records.find(
    ({ server: name, port }) => server.loopback && name === server.name && port === server.port,
  )
  if (record?.project !== undefined) return finding.state === 'silent' ? '' : 'scripts/services, with Docker'
  if (record !== undefined) return `scripts/services (pid ${record.processes.findLast(isRunning).pid})`
  if (finding.state === 'silent') return ''
  if (!server.loopback) return 'another machine'

  const holder = portHolder(server.port)
  return holder === undefined ? 'somebody else' : `somebody else (${holder.command}, pid ${holder.pid})`
}

/** @param {readonly Row[]} rows */
export function formatTable(rows) {
  const heads = {
    server: 'SERVER',
    address: 'ADDRESS',
    answers: 'ANSWERS',
    version: 'VERSION',
    startedBy: 'STARTED BY',
  }
  const columns = Object.keys(heads)
  const widths = columns.map((column) => Math.max(...[heads, ...rows].map((row) => row[column].length)))

  return [heads, ...rows]
    .map((row) =>
      columns
        .map((column, i) => row[column].padEnd(widths[i]))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}
