// One `up` or `down` at a time, even when the one before was killed while it held the lock.
//
//   lock            {pid, started, id} of the holder, put there whole by link(2), which fails when it exists
//   lock.<id>.dead  the right to break the lock that says <id>: only who makes this folder may remove that lock
//
// A lock whose holder has ended is removed by exactly one process: without that right, two could both see the dead
// lock, and the slower would remove the lock that the faster has just taken.

import { linkSync, mkdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Failure } from './errors.mjs'
import { isRunning, recordOf } from './processes.mjs'

/**
 * @template T
 * @param {string} folder
 * @param {() => Promise<T>} work
 * @param {{ patience?: number, onWait?: (pid: number) => void }} [options] `patience`: ms to wait for another
 *   holder, default ten minutes, which is what an installation may take
 * @returns {Promise<T>}
 */
export async function withLock(folder, work, { patience = 600_000, onWait } = {}) {
  const release = await acquire(folder, patience, onWait)
  // A process that exits without finishing its work (Ctrl-C) leaves no lock behind.
  process.on('exit', release)
  try {
    return await work()
  } finally {
    process.off('exit', release)
    release()
  }
}

async function acquire(folder, patience, onWait) {
  const lock = join(folder, 'lock')
  const mine = { ...recordOf(process.pid, 'scripts/services'), id: crypto.randomUUID() }
  const draft = `${lock}.${mine.id}`
  try {
    mkdirSync(folder, { recursive: true })
    writeFileSync(draft, JSON.stringify(mine))
  } catch (cause) {
    throw new Failure(
      `What is started cannot be remembered: ${cause.message}.`,
      'Start again as the user to whom the folder belongs, or name another one in MSX_SERVICES_DIR.',
      { cause },
    )
  }

  let told = false
  try {
    for (const deadline = Date.now() + patience; ; ) {
      if (succeeds(() => linkSync(draft, lock), 'EEXIST')) return () => rmSync(lock, { force: true })

      const holder = read(lock)
      if (holder !== undefined && !isRunning(holder)) breakLock(lock, holder)
      else if (Date.now() >= deadline) throw tooLong(lock, holder)
      else {
        if (holder !== undefined && !told) onWait?.(holder.pid)
        told ||= holder !== undefined
        await sleep(50)
      }
    }
  } finally {
    rmSync(draft, { force: true })
  }
}

/**
 * Removes the lock of a holder that has ended, unless somebody else is about to, or already has.
 *
 * @param {string} lock
 * @param {{ id: string }} holder  Whom the lock named when it was last read.
 */
export function breakLock(lock, holder) {
  const right = `${lock}.${holder.id}.dead`
  if (!succeeds(() => mkdirSync(right), 'EEXIST')) return

  if (read(lock)?.id === holder.id) rmSync(lock)
  rmdirSync(right)
}

function read(lock) {
  try {
    return JSON.parse(readFileSync(lock, 'utf8'))
  } catch (error) {
    if (error.code === 'ENOENT') return undefined
    throw error
  }
}

function succeeds(act, expected) {
  try {
    act()
    return true
  } catch (error) {
    if (error.code === expected) return false
    throw error
  }
}

function tooLong(lock, holder) {
  return new Failure(
    `Another scripts/services${holder ? ` (pid ${holder.pid})` : ''} has been at work for too long.`,
    `See what it waits for, or end it. If there is none, delete ${lock}*.`,
  )
}
