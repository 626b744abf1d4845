// What failed in a whole run is run once more, by itself: `node scripts/second-look.mjs failures.json`, with what
// failures-reporter.mjs wrote. Two cores that run everything at once now and then keep a test from its deadline; what
// fails alone, too, is broken. Nothing is passed over in silence: what passes at the second look is named, to be mended.

import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { root } from './prepare.mjs'

/** More than so many files at once are no accident. */
const MOST = 3

/**
 * What is to be run again, or why that would tell nothing.
 *
 * @param {{ file?: string, name: string, text: string }[]} failures
 * @returns {{ files: string[] } | { reason: string }}
 */
export function toLookAt(failures) {
  if (failures.length === 0) return { reason: 'the run itself failed, not a test' }
  if (failures.some(({ file }) => !file)) return { reason: 'an error belongs to no file' }

  const files = [...new Set(failures.map(({ file }) => file))].sort()

  return files.length > MOST ? { reason: `${files.length} files failed, more than ${MOST}` } : { files }
}

/** One entry of the list: where, what, and the error's first lines. */
export function entry({ file, name, text }) {
  return [
    `- ${file ?? 'no file'}: ${name}`,
    ...text
      .split('\n')
      .slice(0, 6)
      .map((line) => `    ${line.trim()}`),
  ].join('\n')
}

function read(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8'))
  } catch {
    return []
  }
}

function runAgain(files) {
  const folder = mkdtempSync(join(tmpdir(), 'msx-second-look-'))
  const report = join(folder, 'failures.json')
  const args = ['run', ...files, '--reporter=default', '--reporter=./scripts/failures-reporter.mjs']
  const env = { ...process.env, MSX_FAILURES: report }
  const { status } = spawnSync('node_modules/.bin/vitest', args, { cwd: root, stdio: 'inherit', env })
  const failures = read(report)
  rmSync(folder, { recursive: true, force: true })

  return { passed: status === 0, failures }
}

/** The exit code, after it has said what there is to say. */
export function secondLook(first, { again = runAgain, print = console.log } = {}) {
  const look = toLookAt(first)
  if ('reason' in look) {
    print(`Failed, and not run again: ${look.reason}.`)
    for (const failure of first) print(entry(failure))
    return 1
  }

  const { passed, failures } = again(look.files)
  print(passed ? 'Failed once and passed alone: unsteady, and to be mended.' : 'Failed in the whole run:')
  for (const failure of first) print(entry(failure))
  if (passed) return 0

  print('Failed alone as well:')
  for (const failure of failures) print(entry(failure))
  return 1
}

if (process.argv[1] === fileURLToPath(import.meta.url)) process.exitCode = secondLook(read(process.argv[2]))
