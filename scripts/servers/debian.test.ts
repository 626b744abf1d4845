import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { readAddress } from './addresses.mjs'
import { deriveSource, fetchPrograms } from './debian.mjs'
import { fakeCommands } from './testing.js'

describe('another suite of the first source', () => {
  test('of stanzas, keeping where it is and who signs it', () => {
    const text = [
      '# a comment',
      'Types: deb deb-src',
      '# http://old.example/debian',
      'URIs: http://mirror.example/debian',
      'Suites: bookworm bookworm-updates',
      'Components: main contrib',
      'Signed-By:',
      ' -----BEGIN PGP PUBLIC KEY BLOCK-----',
      ' .',
      '',
      'Types: deb',
      'URIs: http://other.example/debian',
      'Suites: other',
      'Components: main',
    ].join('\n')

    expect(deriveSource([{ name: 'debian.sources', text }], 'bullseye')).toEqual({
      format: 'sources',
      text: [
        'Types: deb',
        'URIs: http://mirror.example/debian',
        'Suites: bullseye',
        'Components: main',
        'Signed-By:',
        ' -----BEGIN PGP PUBLIC KEY BLOCK-----',
        ' .',
        '',
      ].join('\n'),
    })
  })

  test.each([
    ['deb http://mirror.example/debian bookworm main contrib # why', 'deb http://mirror.example/debian bullseye main'],
    [
      'deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian bookworm main',
      'deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian bullseye main',
    ],
  ])('of a line: %s', (line, derived) => {
    const text = `# deb http://commented.example bookworm main\ndeb-src http://source.example bookworm main\n${line}\n`

    expect(deriveSource([{ name: 'sources.list', text }], 'bullseye')).toEqual({ format: 'list', text: `${derived}\n` })
  })

  test('skips what is disabled or is no Debian archive, and finds nothing where there is nothing', () => {
    const disabled = 'Types: deb\nEnabled: no\nURIs: http://off.example\nSuites: x\nComponents: main\n'
    const foreign = 'deb https://tools.example/apt stable tools\n'
    const files = [
      { name: 'a.sources', text: disabled },
      { name: 'b.list', text: foreign },
    ]
    expect(deriveSource(files, 'bullseye')).toBeUndefined()

    const third = { name: 'c.list', text: 'deb http://mirror.example/debian bookworm main' }
    expect(deriveSource([...files, third], 'bullseye')?.text).toBe('deb http://mirror.example/debian bullseye main\n')
  })
})

describe('a server that is not installed', () => {
  const redis = readAddress('redis', {})
  const folders: string[] = []
  afterEach(() => {
    vi.unstubAllEnvs()
    vi.restoreAllMocks()
    for (const folder of folders.splice(0)) rmSync(folder, { recursive: true })
  })

  /** A machine with these commands, and a folder for what they log. */
  function machine(commands: Readonly<Record<string, string>>, path = process.env['PATH']): string {
    const bin = fakeCommands(commands)
    const state = mkdtempSync(join(tmpdir(), 'msx-debian-'))
    folders.push(bin, state)
    vi.stubEnv('PATH', path === '' ? bin : `${bin}:${path}`)
    vi.stubEnv('CALLS', join(state, 'calls'))
    return state
  }

  const sudo = 'shift; exec "$@"'

  test('is installed with apt-get, which reads its lists again when it has to', async () => {
    const state = machine({
      sudo,
      'apt-get': 'echo "$@" >>"$CALLS"; case "$*" in *update*) touch "$CALLS.read";; *) [ -e "$CALLS.read" ];; esac',
    })

    await fetchPrograms(redis, state)

    const install = '-o DPkg::Lock::Timeout=300 install --yes --no-install-recommends redis-server'
    expect(readFileSync(join(state, 'calls'), 'utf8').trim().split('\n')).toEqual([install, 'update', install])
  })

  test('is an error with the last words of an apt-get that fails', async () => {
    const state = machine({ sudo, 'apt-get': 'echo "E: no such package"; exit 100' })

    await expect(fetchPrograms(redis, state)).rejects.toThrow('| E: no such package')
  })

  test('is an error that says what to do for who is not root', async () => {
    const state = machine({ sudo: 'exit 1', 'apt-get': 'exit 0' })
    vi.spyOn(process as { getuid(): number }, 'getuid').mockReturnValue(1000)

    await expect(fetchPrograms(redis, state)).rejects.toMatchObject({
      message: expect.stringContaining('only root can install it'),
      advice: expect.stringContaining('sudo apt-get install redis-server'),
    })
  })

  test('is an error on a machine without apt-get', async () => {
    const state = machine({}, '')

    await expect(fetchPrograms(redis, state)).rejects.toThrow('neither a Docker engine nor apt-get')
  })
})
