// Processes that outlive this one, and how to be sure that a number still means the same process.

import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

/**
 * A process that no other can be mistaken for: a number is given again to another process once its own has ended,
 * a number together with a start time is not.
 *
 * @typedef {{ pid: number, started: string, command: string }} ProcessRecord
 */

/**
 * When a process started, in a form only good for comparing; undefined when there is no such process (any more).
 *
 * @param {number} pid
 * @returns {string | undefined}
 */
export function startTime(pid) {
  try {
    if (process.platform !== 'linux') {
      return execFileSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8' }).trim() || undefined
    }
    // The command, in parentheses, may itself hold spaces and parentheses: count from the last one.
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    const [state, ticksSinceBoot] = [fields[0], fields[19]]
    if (state === 'Z' || state === 'X') return undefined

    return `${readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()}:${ticksSinceBoot}`
  } catch {
    return undefined
  }
}

/**
 * @param {number} pid
 * @param {string} command
 * @returns {ProcessRecord}
 */
export function recordOf(pid, command) {
  return { pid, command, started: startTime(pid) ?? 'ended' }
}

/** @param {ProcessRecord} record */
export function isRunning(record) {
  return startTime(record.pid) === record.started
}

/**
 * Ends a process, gently first. One that has ended, or whose number another process has got, is left alone.
 *
 * @param {ProcessRecord} record
 * @param {{ signal?: NodeJS.Signals, grace?: number }} [options] `grace`: ms until it is killed, default 15000
 * @returns {Promise<boolean>} whether there was anything to end
 */
export async function endProcess(record, { signal = 'SIGTERM', grace = 15_000 } = {}) {
  for (const [sent, patience] of /** @type {const} */ ([
    [signal, grace],
    ['SIGKILL', 5_000],
  ])) {
    if (!isRunning(record)) return sent === 'SIGKILL'
    process.kill(record.pid, sent)
    for (const deadline = Date.now() + patience; Date.now() < deadline; ) {
      if (!isRunning(record)) return true
      await sleep(25)
    }
  }
  throw new Error(`${record.command} (pid ${record.pid}) does not end, not even when killed`)
}

/**
 * The process that listens on a TCP port of this machine, as far as this user may know (Linux only).
 *
 * @param {number} port
 * @returns {{ pid: number, command: string } | undefined}
 */
export function portHolder(port) {
  const sockets = new Set(
    ['tcp', 'tcp6'].flatMap((table) => listeningInodes(table, port)).map((id) => `socket:[${id}]`),
  )
  if (sockets.size === 0) return undefined

  for (const pid of entries('/proc').filter((name) => /^\d+$/.test(name))) {
    for (const fd of entries(`/proc/${pid}/fd`)) {
      try {
        if (!sockets.has(readlinkSync(`/proc/${pid}/fd/${fd}`))) continue
        return { pid: Number(pid), command: readFileSync(`/proc/${pid}/comm`, 'utf8').trim() }
      } catch {
        // It has ended, or closed the file, since it was listed.
      }
    }
  }
  return undefined
}

/** Of a table in proc(5): local address, remote address, state (0A is LISTEN) …, inode. */
function listeningInodes(table, port) {
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, '0')}`
  try {
    const rows = readFileSync(`/proc/net/${table}`, 'utf8').trim().split('\n').slice(1)
    return rows
      .map((row) => row.trim().split(/\s+/))
      .filter(([, local, , state]) => state === '0A' && local?.endsWith(suffix))
      .map((columns) => columns[9])
  } catch {
    return []
  }
}

function entries(folder) {
  try {
    return readdirSync(folder)
  } catch {
    return []
  }
}
