import type pg from 'pg'
import type { Passwords } from './passwords.js'

/** As somebody who may make databases and roles. */
export type Admin = pg.Client

/**
 * Makes each name a role that may log in and owns a database of the same name, which nobody else may enter. Safe to
 * repeat; a password that has changed is the role's from then on.
 */
export async function provisionDatabases(
  admin: Admin,
  names: readonly string[],
  passwords: Passwords,
  onDone: (name: string) => void = () => {},
): Promise<void> {
  for (const name of names) {
    const quoted = admin.escapeIdentifier(name)
    const password = passwords[name]
    if (password === undefined) throw new TypeError(`role ${name} has no password`)

    const verb = (await exists(admin, 'SELECT FROM pg_roles WHERE rolname = $1', name)) ? 'ALTER' : 'CREATE'
    await admin.query(`${verb} ROLE ${quoted} LOGIN PASSWORD ${admin.escapeLiteral(password)}`)
    // Whoever is not a superuser must be a member of a role to make it an owner.
    await admin.query(`GRANT ${quoted} TO CURRENT_USER`)
    if (!(await exists(admin, 'SELECT FROM pg_database WHERE datname = $1', name))) {
      await admin.query(`CREATE DATABASE ${quoted} OWNER ${quoted} TEMPLATE template0`)
    }
    await admin.query(`REVOKE ALL ON DATABASE ${quoted} FROM PUBLIC`)
    onDone(name)
  }
}

/** Drops the databases and their roles, also while somebody is connected. Safe to repeat. */
export async function dropDatabases(admin: Admin, names: readonly string[]): Promise<void> {
  for (const name of names) {
    const quoted = admin.escapeIdentifier(name)
    await admin.query(`DROP DATABASE IF EXISTS ${quoted} WITH (FORCE)`)
    await admin.query(`DROP ROLE IF EXISTS ${quoted}`)
  }
}

async function exists(admin: Admin, question: string, name: string): Promise<boolean> {
  return (await admin.query(question, [name])).rows.length > 0
}
