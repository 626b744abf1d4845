import { randomBytes } from 'node:crypto'
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { StartError } from '../start-error.js'

export type Passwords = Readonly<Record<string, string>>

/** The passwords of the roles, made when they are first asked for and kept in a file that only its owner reads. */
export async function readPasswords(file: string, roles: readonly string[]): Promise<Passwords> {
  const known = await read(file)
  const missing = roles.filter((role) => known[role] === undefined)
  if (missing.length === 0) return known

  const passwords = { ...known, ...Object.fromEntries(missing.map((role) => [role, newPassword()])) }
  await write(file, passwords)
  return passwords
}

function newPassword(): string {
  return randomBytes(24).toString('base64url')
}

/** In one step, so that no start finds half of it. */
async function write(file: string, passwords: Passwords): Promise<void> {
  const draft = `${file}.${process.pid}`
  try {
    await mkdir(dirname(file), { recursive: true })
    await writeFile(draft, `${JSON.stringify(passwords, null, 2)}\n`, { mode: 0o600 })
    await rename(draft, file)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw new StartError(`${file} cannot be written (${code}); set DATA_DIR to another folder`)
  }
}

async function read(file: string): Promise<Passwords> {
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT') return {}
    throw new StartError(`${file} cannot be read (${code}); set DATA_DIR to another folder`)
  }

  try {
    return JSON.parse(text)
  } catch {
    throw new StartError(`${file} does not hold the passwords of the shop; delete it, and new ones are made`)
  }
}
