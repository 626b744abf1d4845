// What `up` has started and `down` may stop: a file of records in a folder that git ignores.

import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Failure } from './errors.mjs'
import { isRunning } from './processes.mjs'

/**
 * @typedef {object} Started
 * @property {import('./addresses.mjs').ServerName} server
 * @property {number} port
 * @property {string} at                                        When, in ISO 8601.
 * @property {import('./processes.mjs').ProcessRecord[]} processes Our own, to be ended last to first.
 * @property {string} [project]                                 Of Docker Compose, in place of processes.
 */

/**
 * @param {string} folder
 * @returns {Started[]}
 */
export function readState(folder) {
  const file = join(folder, 'started.json')
  let text = '[]'
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    if (error.code !== 'ENOENT') throw error
  }

  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new Failure(
      `${file} does not hold JSON, so what was started before is not known.`,
      'Stop those servers by hand and delete the file.',
      { cause },
    )
  }
}

/**
 * @param {string} folder
 * @param {{ name: string, port: number }} server
 */
export function recordFor(folder, { name, port }) {
  return readState(folder).find((record) => record.server === name && record.port === port)
}

/**
 * Adds a record, or replaces the one of the same server and port. Callers hold the lock.
 *
 * @param {string} folder
 * @param {Started} record
 */
export function remember(folder, record) {
  write(folder, [...others(folder, record), record])
}

/**
 * @param {string} folder
 * @param {Started} record
 */
export function forget(folder, record) {
  write(folder, others(folder, record))
}

/**
 * Whether anything of it may still be running. What Docker runs, only Docker knows.
 *
 * @param {Started} record
 */
export function mayRun(record) {
  return record.project !== undefined || record.processes.some(isRunning)
}

const others = (folder, { server, port }) =>
  readState(folder).filter((record) => record.server !== server || record.port !== port)

/** In one step, so that a reader never sees half of it. */
function write(folder, records) {
  mkdirSync(folder, { recursive: true })
  const draft = join(folder, `started.${process.pid}.json`)
  writeFileSync(draft, `${JSON.stringify(records, null, 2)}\n`)
  renameSync(draft, join(folder, 'started.json'))
}
