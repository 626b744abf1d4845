// A folder of its own for each server we start, and the user it runs as.

import { spawnSync } from 'node:child_process'
import { chownSync, lstatSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'

/**
 * @typedef {object} Place
 * @property {string} folder
 * @property {{ uid: number, gid: number } | undefined} user  Undefined: the one who runs this.
 */

/**
 * PostgreSQL refuses to run as root and the others have no need to: under root they run as `nobody`.
 *
 * @param {string} state
 * @param {{ name: string, port: number }} server
 * @returns {Place}
 */
export function makePlace(state, { name, port }) {
  const user = process.getuid?.() === 0 ? nobody() : undefined
  const wanted = join(state, `${name}-${port}`)
  if (lstatSync(wanted, { throwIfNoEntry: false })?.isSymbolicLink() && !exists(wanted)) rmSync(wanted)
  if (!exists(wanted)) mkdirSync(wanted, { recursive: true })

  if (user !== undefined && !mayEnter(user, realpathSync(wanted))) {
    // A checkout below /root, say, which nobody else may enter: the folder is elsewhere, with a link to it here.
    const elsewhere = mkdtempSync(`/var/tmp/msx-${name}-${port}-`)
    rmSync(wanted, { recursive: true })
    symlinkSync(elsewhere, wanted)
  }

  const folder = realpathSync(wanted)
  if (user !== undefined) chownSync(folder, user.uid, user.gid)
  return { folder, user }
}

/**
 * Whether a user may enter a folder, or run a program, with all the folders on the way there.
 *
 * @param {{ uid: number, gid: number }} user
 * @param {string} path
 */
export function mayEnter(user, path) {
  return spawnSync('test', ['-x', path], { ...user, cwd: '/' }).status === 0
}

function nobody() {
  const entry = /^nobody:[^:]*:(\d+):(\d+):/m.exec(readFileSync('/etc/passwd', 'utf8'))
  if (entry === null) throw new Error('/etc/passwd has no user "nobody", as whom servers run under root')
  return { uid: Number(entry[1]), gid: Number(entry[2]) }
}

/** Whether there is something at the end of the link, if it is one. */
function exists(path) {
  try {
    realpathSync(path)
    return true
  } catch {
    return false
  }
}
