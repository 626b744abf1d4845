// Stops what `up` started, and nothing else.

import { titleOf } from './addresses.mjs'
import { stopContainer } from './docker.mjs'
import { end, logOf } from './launch.mjs'
import { isRunning } from './processes.mjs'
import { forget } from './state.mjs'

/**
 * @param {import('./state.mjs').Started} record
 * @param {string} state
 * @returns {Promise<string>} what came of it
 */
export async function takeDown(record, state) {
  if (record.project !== undefined) {
    await stopContainer({ project: record.project }, logOf(state, { name: record.server, port: record.port }))
    forget(state, record)
    return 'stopped'
  }

  const running = record.processes.some(isRunning)
  await end(record, state)
  return running ? 'stopped' : 'had ended already'
}

/** @param {import('./state.mjs').Started} record */
export const describeRecord = (record) => ({ title: titleOf(record.server), label: `port ${record.port}` })
