// Where the servers' programs are on this machine.

import { accessSync, constants, existsSync, readdirSync, realpathSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'

/** Where Consul's program goes when it comes from a package that is unpacked rather than installed. */
export const unpackedConsul = (state) => join(state, 'consul', 'usr', 'bin', 'consul')

/** @param {string} command */
export function onPath(command) {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/local/sbin', '/usr/sbin', '/sbin']
  return folders.map((folder) => join(folder, command)).find(isExecutable)
}

/**
 * The programs a server needs; undefined when one is missing.
 *
 * @type {Record<import('./addresses.mjs').ServerName, (state: string) => Record<string, string> | undefined>}
 */
export const findPrograms = {
  // Not Debian's /usr/sbin/rabbitmq-server, which insists on the machine's own data folder and user.
  rabbitmq: () =>
    all({ server: executable('/usr/lib/rabbitmq/bin/rabbitmq-server', 'rabbitmq-server'), epmd: onPath('epmd') }),

  postgres() {
    const found = onPath('postgres')
    for (const bin of [...debianPostgres(), ...(found ? [dirname(realpathSync(found))] : [])]) {
      const programs = all({ server: executable(join(bin, 'postgres')), initdb: executable(join(bin, 'initdb')) })
      if (programs !== undefined) return programs
    }
    return undefined
  },

  redis: () => all({ server: onPath('redis-server') }),

  consul: (state) => all({ server: executable(unpackedConsul(state), 'consul') }),
}

/** Debian keeps several versions side by side and none on the PATH: the newest first. */
function debianPostgres() {
  const versions = '/usr/lib/postgresql'
  if (!existsSync(versions)) return []
  return readdirSync(versions)
    .sort((a, b) => Number(b) - Number(a))
    .map((version) => join(versions, version, 'bin'))
}

/** A file, or else a command on the PATH. */
function executable(file, command) {
  if (isExecutable(file)) return file
  return command === undefined ? undefined : onPath(command)
}

function all(programs) {
  return Object.values(programs).every((program) => program !== undefined) ? programs : undefined
}

function isExecutable(file) {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}
