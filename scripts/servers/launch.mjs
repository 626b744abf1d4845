// Starts a server as processes of our own that go on when this one ends.

import { spawn } from 'node:child_process'
import { chownSync, closeSync, openSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import { tail } from './debian.mjs'
import { Failure } from './errors.mjs'
import { makePlace } from './place.mjs'
import { endProcess, isRunning, recordOf } from './processes.mjs'
import { recipes } from './recipes.mjs'
import { forget, remember } from './state.mjs'

/** @typedef {import('./state.mjs').Started} Started */

export const logOf = (state, { name, port }) => join(state, `${name}-${port}`, 'server.log')

/**
 * @param {import('./addresses.mjs').Server} server
 * @param {Record<string, string>} programs
 * @param {string} state
 * @returns {Promise<Started>} remembered as soon as a process exists, so that `down` finds it whatever comes next
 */
export async function launch(server, programs, state) {
  const { folder, user } = makePlace(state, server)
  const launches = await recipes[server.name].prepare(server, { folder, user }, programs)
  const log = openSync(logOf(state, server), 'a')
  truncateSync(logOf(state, server))
  if (user !== undefined) chownSync(logOf(state, server), user.uid, user.gid)

  /** @type {Started} */
  const record = { server: server.name, port: server.port, at: new Date().toISOString(), processes: [] }
  try {
    for (const { command, args, env } of launches) {
      const child = spawn(command, args, { ...user, cwd: folder, env, detached: true, stdio: ['ignore', log, log] })
      await new Promise((resolve, reject) => child.once('spawn', resolve).once('error', reject))
      child.unref()
      record.processes.push(recordOf(child.pid, command))
      remember(state, record)
    }
    return record
  } catch (cause) {
    await end(record, state)
    throw new Failure(`${server.title} could not be started: ${cause.message}.`, `See ${folder}.`, { cause })
  } finally {
    closeSync(log)
  }
}

/**
 * Whether all of it still runs: a server that lost one of its processes will not come to answer.
 *
 * @param {Started} record
 */
export const isWhole = (record) => record.processes.every(isRunning)

/**
 * @param {Started} record
 * @param {string} state
 */
export async function end(record, state) {
  for (const process of record.processes.toReversed()) {
    await endProcess(process, { signal: recipes[record.server].signal })
  }
  forget(state, record)
}

/** What a server that did not come up said about it. */
export const lastWords = (state, server) => `Its last words, in ${logOf(state, server)}:\n${tail(logOf(state, server))}`
